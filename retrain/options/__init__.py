"""The options of every stage: one frozen dataclass each.

A field holds an option's type, default and help; its class checks the ranges. The command line, its documentation and
the Python API are made of these classes.
"""

from retrain.options.augmentation import AugmentationOptions
from retrain.options.cluster import ClusterOptions
from retrain.options.crossval import CrossValidationOptions
from retrain.options.data import DEFAULT_MAX_FILE_SIZE, DEFAULT_MAX_PIXELS, ImageOptions, LabelOptions, SplitOptions
from retrain.options.evaluation import EvaluationOptions
from retrain.options.export import EXPORT_FORMATS, ExportOptions, parse_formats
from retrain.options.extraction import DEPTH_RULES, FITS, PRECISIONS, BackboneOptions, ExtractionOptions
from retrain.options.fine_tuning import FineTuningOptions
from retrain.options.labelling import LabellingOptions
from retrain.options.manifest import Manifest, PictureSource
from retrain.options.prediction import PredictionOptions
from retrain.options.report import ReportOptions
from retrain.options.run import RunOptions
from retrain.options.serving import ServingOptions
from retrain.options.shard import Shard
from retrain.options.studio import StudioOptions
from retrain.options.training import DEFAULT_BATCH_SIZE, DEFAULT_STEPS, OPTIMIZERS, TrainingOptions
from retrain.options.tuning import TuningOptions
from retrain.options.watching import WatchOptions

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_MAX_FILE_SIZE",
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_STEPS",
    "DEPTH_RULES",
    "EXPORT_FORMATS",
    "FITS",
    "OPTIMIZERS",
    "PRECISIONS",
    "AugmentationOptions",
    "BackboneOptions",
    "ClusterOptions",
    "CrossValidationOptions",
    "EvaluationOptions",
    "ExportOptions",
    "ExtractionOptions",
    "FineTuningOptions",
    "ImageOptions",
    "LabelOptions",
    "LabellingOptions",
    "Manifest",
    "PictureSource",
    "PredictionOptions",
    "ReportOptions",
    "RunOptions",
    "ServingOptions",
    "Shard",
    "SplitOptions",
    "StudioOptions",
    "TrainingOptions",
    "TuningOptions",
    "WatchOptions",
    "parse_formats",
]
