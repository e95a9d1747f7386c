from .classifier import Classifier, PictureBytes, Prediction
from .folder import (
    FORMAT,
    check_destination,
    list_files,
    own_card,
    read_model_tables,
    seal,
    write_labels,
    write_model_folder,
)
from .graph_file import parse_graph, part_of_graph
from .head import Head, Layer, judge, softmax, write_head
from .litert_file import BACKBONE_PLACE, HEAD_SCOPE

__all__ = [
    "BACKBONE_PLACE",
    "FORMAT",
    "HEAD_SCOPE",
    "Classifier",
    "Head",
    "Layer",
    "PictureBytes",
    "Prediction",
    "check_destination",
    "judge",
    "list_files",
    "own_card",
    "parse_graph",
    "part_of_graph",
    "read_model_tables",
    "seal",
    "softmax",
    "write_head",
    "write_labels",
    "write_model_folder",
]
