"""The files that other programs load."""
