"""The bottleneck cache: immutable HDF5 segments, and what finds, writes and checks them."""
