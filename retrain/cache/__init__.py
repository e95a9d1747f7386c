"""The bottleneck cache: immutable HDF5 segments, and what finds, writes and checks them."""

import lazy_loader

# Each name in __init__.pyi is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
