"""Export: the files that other programs load."""
