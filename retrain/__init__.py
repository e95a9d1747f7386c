"""Train an image classifier from a folder of pictures per class: frozen backbone, cached bottlenecks, softmax layer.

The functions are named like the commands: `train`, `extract`, `evaluate`, `cross_validate`, `inspect`. A trained model
is used through `Classifier`. Options are frozen dataclasses; `retrain.events` has what a run tells as it goes on, and
`retrain.errors` what it raises.
"""

import lazy_loader

__version__ = "0.1.0"

# The names are in __init__.pyi. Each is imported when it is first used, since TensorFlow takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*__all__, "__version__"]
