from .classifier import Classifier, PictureBytes, Prediction
from .exported import EXPORT
from .few_shot import FewShotClassifier
from .folder import (
    FORMAT,
    MODEL,
    ModelDescription,
    check_destination,
    list_files,
    own_card,
    parse_thresholds,
    read_description,
    read_file,
    read_labels,
    read_model_tables,
    read_thresholds,
    seal,
    thresholds_text,
    write_labels,
    write_model_folder,
    write_thresholds,
)
from .graph_file import parse_graph
from .head import Activation, Head, Layer, judge, softmax, write_head
from .head import Activation, Head, Layer, judge, softmax, write_head
from .litert_file import BACKBONE_PLACE, HEAD_SCOPE, KNOWN_SCOPE
from .rejection import KNOWN, KNOWN_FROM, UNKNOWN, Rejection

__all__ = [
    "BACKBONE_PLACE",
    "EXPORT",
    "FORMAT",
    "HEAD_SCOPE",
    "KNOWN",
    "KNOWN_FROM",
    "KNOWN_SCOPE",
    "MODEL",
    "UNKNOWN",
    "Activation",
    "Classifier",
    "FewShotClassifier",
    "Head",
    "Layer",
    "ModelDescription",
    "PictureBytes",
    "Prediction",
    "Rejection",
    "check_destination",
    "judge",
    "list_files",
    "own_card",
    "parse_graph",
    "parse_thresholds",
    "read_description",
    "read_file",
    "read_labels",
    "read_model_tables",
    "read_thresholds",
    "seal",
    "softmax",
    "thresholds_text",
    "write_head",
    "write_labels",
    "write_model_folder",
    "write_thresholds",
]
