from .activations import activations_at
from .backbone import Backbone
from .before_pooling import LastActivations
from .catalogue import Entry, licence_of
from .conversion import ConvertedNetwork, Converter, KeptConversion, kept_conversion, probe_picture
from .default import choose_backbone
from .extractor import Extractor
from .graph import make_trunk, trunk_network
from .graph_cut import Cut, find_cut, part_above
from .kept_exports import TRUNK, KeptExports, kept_trunk
from .layers import NetworkLayer
from .litert import LiteRTError, LiteRTNetwork, is_litert_installed
from .network import FrozenGraph, suitable_batch_size
from .onnx_backbone import OnnxBackbone
from .onnx_facts import OnnxFacts, kept_onnx_graph, onnx_facts_of
from .onnx_file import import_onnx, weights_elsewhere
from .onnx_graph import ONNX_BOTTLENECK, operators_version, set_batch, set_outputs
from .onnx_network import OnnxError, OnnxNetwork
from .precision import choose_extractor
from .quantization import own_signal_stack, quantize
from .representative_pictures import RepresentativePictures
from .sources.graph_safety import check_graph, check_saved_model
from .sources.listener import Listener, listening
from .trunk import BOTTLENECK, PIXELS_INPUT, Trunk, Weight, outline

__all__ = [
    "BOTTLENECK",
    "ONNX_BOTTLENECK",
    "PIXELS_INPUT",
    "TRUNK",
    "Backbone",
    "ConvertedNetwork",
    "Converter",
    "Cut",
    "Entry",
    "Extractor",
    "FrozenGraph",
    "KeptConversion",
    "KeptExports",
    "LastActivations",
    "Listener",
    "LiteRTError",
    "LiteRTNetwork",
    "NetworkLayer",
    "OnnxBackbone",
    "OnnxError",
    "OnnxFacts",
    "OnnxNetwork",
    "RepresentativePictures",
    "Trunk",
    "Weight",
    "activations_at",
    "check_graph",
    "check_saved_model",
    "choose_backbone",
    "choose_extractor",
    "find_cut",
    "import_onnx",
    "is_litert_installed",
    "kept_conversion",
    "kept_onnx_graph",
    "kept_trunk",
    "licence_of",
    "listening",
    "make_trunk",
    "onnx_facts_of",
    "operators_version",
    "outline",
    "own_signal_stack",
    "part_above",
    "probe_picture",
    "quantize",
    "set_batch",
    "set_outputs",
    "suitable_batch_size",
    "trunk_network",
    "weights_elsewhere",
]
