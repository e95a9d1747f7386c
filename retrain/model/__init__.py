"""A trained model: the head, the model folder, and the classifier that reads it."""

import lazy_loader

# Each name in __init__.pyi is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
