"""An image folder: classes, samples, sets, folds, and the pixels of its pictures."""

import lazy_loader

# Each name in __init__.pyi is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
