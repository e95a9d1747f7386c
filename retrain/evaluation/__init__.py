"""Evaluation: metrics, intervals and statistics of folds."""
