from . import errors, events
from .errors import RetrainError
from .evaluation.metrics import ClassMetrics, Metrics, PictureResult
from .evaluation.multi_label import LabelMetrics, MultiLabelMetrics
from .export.export_folder import WrittenExport
from .model.classifier import Classifier, PictureBytes, Prediction
from .options import (
    AugmentationOptions,
    BackboneOptions,
    ClusterOptions,
    CrossValidationOptions,
    EvaluationOptions,
    ExportOptions,
    ExtractionOptions,
    FineTuningOptions,
    ImageOptions,
    LabellingOptions,
    LabelOptions,
    Manifest,
    PredictionOptions,
    ReportOptions,
    RunOptions,
    ServingOptions,
    Shard,
    SplitOptions,
    StudioOptions,
    TrainingOptions,
    TuningOptions,
    WatchOptions,
)
from .pipeline.compare import compare
from .pipeline.crossval import CrossValidation, cross_validate
from .pipeline.evaluate import evaluate
from .pipeline.export import export_model
from .pipeline.extract import FolderExtraction, extract
from .pipeline.few_shot import FewShotPrediction, few_shot
from .pipeline.inspect import FolderInspection, inspect
from .pipeline.label_next import LabelNext, PictureToLabel, label_next
from .pipeline.report import WrittenReport, write_report
from .pipeline.results import FolderEvaluation, RunResult, TrainedModel, WrittenModel
from .pipeline.studio import open_studio
from .pipeline.train import train
from .pipeline.watch import watch
from .report.live import LiveReport
from .serving.server import Server

__all__ = [
    "AugmentationOptions",
    "BackboneOptions",
    "ClassMetrics",
    "Classifier",
    "ClusterOptions",
    "CrossValidation",
    "CrossValidationOptions",
    "EvaluationOptions",
    "ExportOptions",
    "ExtractionOptions",
    "FewShotPrediction",
    "FineTuningOptions",
    "FolderEvaluation",
    "FolderExtraction",
    "FolderInspection",
    "ImageOptions",
    "LabelMetrics",
    "LabelNext",
    "LabelOptions",
    "LabellingOptions",
    "LiveReport",
    "Manifest",
    "Metrics",
    "MultiLabelMetrics",
    "PictureBytes",
    "PictureResult",
    "PictureToLabel",
    "Prediction",
    "PredictionOptions",
    "ReportOptions",
    "RetrainError",
    "RunOptions",
    "RunResult",
    "Server",
    "ServingOptions",
    "Shard",
    "SplitOptions",
    "StudioOptions",
    "TrainedModel",
    "TrainingOptions",
    "TuningOptions",
    "WatchOptions",
    "WrittenExport",
    "WrittenModel",
    "WrittenReport",
    "__version__",
    "compare",
    "cross_validate",
    "errors",
    "evaluate",
    "events",
    "export_model",
    "extract",
    "few_shot",
    "inspect",
    "label_next",
    "open_studio",
    "train",
    "watch",
    "write_report",
]

__version__: str
