"""One run of a command, from options to results."""
