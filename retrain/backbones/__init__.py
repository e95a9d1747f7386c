"""Frozen networks: finding and loading them, their fingerprints, precisions and cuts."""
