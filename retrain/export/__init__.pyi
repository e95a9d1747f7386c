from .export_folder import ExportTask, WrittenExport, place_of
from .formats import FORMATS, check_installed, missing_packages
from .frozen_graph import FrozenGraph
from .litert_model import LiteRTModel
from .onnx_classifier import OnnxClassifier, export_source
from .sample_pictures import find_pictures
from .saved_model import SavedModel
from .source import ExportSource, TrainedNetwork
from .vector_file import VectorTable, check_vector_file, write_vectors

__all__ = [
    "FORMATS",
    "ExportSource",
    "ExportTask",
    "FrozenGraph",
    "LiteRTModel",
    "OnnxClassifier",
    "SavedModel",
    "TrainedNetwork",
    "VectorTable",
    "WrittenExport",
    "check_installed",
    "check_vector_file",
    "export_source",
    "find_pictures",
    "missing_packages",
    "place_of",
    "write_vectors",
]
