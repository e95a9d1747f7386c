"""Metrics, intervals and statistics of folds."""
