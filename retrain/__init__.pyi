from . import errors, events
from .errors import RetrainError
from .evaluation.metrics import ClassMetrics, Metrics, PictureResult
from .model.classifier import Classifier, PictureBytes, Prediction
from .options import (
    AugmentationOptions,
    BackboneOptions,
    CrossValidationOptions,
    EvaluationOptions,
    ExtractionOptions,
    FineTuningOptions,
    ImageOptions,
    LabelOptions,
    PredictionOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
    TuningOptions,
)
from .pipeline.crossval import CrossValidation, cross_validate
from .pipeline.evaluate import evaluate
from .pipeline.extract import FolderExtraction, extract
from .pipeline.inspect import FolderInspection, inspect
from .pipeline.results import FolderEvaluation, RunResult, TrainedModel, WrittenModel
from .pipeline.train import train

__all__ = [
    "AugmentationOptions",
    "BackboneOptions",
    "ClassMetrics",
    "Classifier",
    "CrossValidation",
    "CrossValidationOptions",
    "EvaluationOptions",
    "ExtractionOptions",
    "FineTuningOptions",
    "FolderEvaluation",
    "FolderExtraction",
    "FolderInspection",
    "ImageOptions",
    "LabelOptions",
    "Metrics",
    "PictureBytes",
    "PictureResult",
    "Prediction",
    "PredictionOptions",
    "RetrainError",
    "RunOptions",
    "RunResult",
    "SplitOptions",
    "TrainedModel",
    "TrainingOptions",
    "TuningOptions",
    "WrittenModel",
    "__version__",
    "cross_validate",
    "errors",
    "evaluate",
    "events",
    "extract",
    "inspect",
    "train",
]

__version__: str
