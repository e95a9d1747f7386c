"""Train an image classifier from a folder of pictures per class: frozen backbone, cached bottlenecks, softmax layer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrain.errors import RetrainError
    from retrain.model.classifier import Classifier, Prediction
    from retrain.options import RunOptions
    from retrain.pipeline.record import RunResult, TrainedModel
    from retrain.pipeline.run import extract_folder, train

__version__ = "0.1.0"

# TensorFlow takes seconds to import, so a name is looked up in its module when it is first used.
_MODULE_OF = {
    "Classifier": "retrain.model.classifier",
    "Prediction": "retrain.model.classifier",
    "RetrainError": "retrain.errors",
    "RunOptions": "retrain.options",
    "RunResult": "retrain.pipeline.record",
    "TrainedModel": "retrain.pipeline.record",
    "extract_folder": "retrain.pipeline.run",
    "train": "retrain.pipeline.run",
}

__all__ = [
    "Classifier",
    "Prediction",
    "RetrainError",
    "RunOptions",
    "RunResult",
    "TrainedModel",
    "__version__",
    "extract_folder",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'retrain' has no attribute {name!r}")
