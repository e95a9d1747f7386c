"""An ONNX file as the frozen backbone: any network from pictures to vectors, wherever it comes from."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.backbones.backbone import Backbone, BackboneSource
from retrain.backbones.onnx_file import OnnxFile, describe_onnx, read_onnx
from retrain.backbones.onnx_graph import OnnxPlan, join_graph, plan_graph
from retrain.backbones.onnx_network import OnnxError, OnnxNetwork
from retrain.backbones.onnx_preprocessing import CROPPED, PADDED, PROPORTIONAL, preprocessing_of
from retrain.data import DECODER_VERSION, unusual
from retrain.errors import BackboneError
from retrain.options import BackboneOptions
from retrain.paths import display_path

if TYPE_CHECKING:
    from retrain.backbones.network import Network

__all__ = ["OnnxBackbone"]

# What a network was trained with, and --fit does, too.
_MET_BY = {"squash": (), "crop": (CROPPED, PROPORTIONAL), "pad": (PADDED, PROPORTIONAL)}


class OnnxBackbone(Backbone):
    """A frozen network in an ONNX file. TensorFlow has no part in it.

    Its fingerprint is made of what decides the vector: the file and those with its weights, preprocessing, how
    pictures are fitted, pooling, the output's name, the decoder's version, and the precision.

    Args:
        source: where it comes from.
        options: how it is used.
    """

    def __init__(self, source: BackboneSource, options: BackboneOptions) -> None:
        super().__init__(source)
        self._options = options

    @cached_property
    def plan(self) -> OnnxPlan:
        """How pictures become bottlenecks. Raises BackboneError if the file can't be used."""
        return plan_graph(self._file, preprocessing_of(self._path, self._options), self._options)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of it. Raises BackboneError if the file can't be used."""
        fit = self.source.fit
        unmet = [what for what in self.plan.preprocessing.unmet if what not in _MET_BY[fit]]
        how = f"with --fit {fit}, the" if _MET_BY[fit] else "the whole"
        more = f"; not done, {how} picture is resized bilinearly: {', '.join(unmet)}" if unmet else ""
        return (f"{display_path(self._path)}: {self.plan.told()}{more}",)

    @property
    def tensorflow_network(self) -> "Network":
        """There is none. Raises BackboneError."""
        raise BackboneError(f"the backbone {self.name} is an ONNX network: there is no TensorFlow graph of it")

    def graph(self) -> Any:
        """The graph from one picture to its bottleneck, a ModelProto. Raises BackboneError."""
        return join_graph(read_onnx(self._file), self.plan)

    def openvino_form(self) -> tuple[str, bytes]:
        """A file that OpenVINO reads: its name, its content. Raises BackboneError."""
        return "float32.onnx", self.graph().SerializeToString(deterministic=True)

    def _load_network(self) -> OnnxNetwork:
        model = self.openvino_form()[1]
        try:
            return OnnxNetwork(model)
        except OnnxError as error:
            raise BackboneError(f"backbone {self.name} ({display_path(self._path)}): {error}") from error

    def _describe(self) -> dict[str, Any]:
        same = {"decoder": DECODER_VERSION, "precision": "float32", "cut": "bottleneck"}
        return {"architecture": "onnx"} | self.plan.as_dict() | same | unusual(self.source)

    @property
    def _path(self) -> Path:
        return Path(str(self.source.location))

    @cached_property
    def _file(self) -> OnnxFile:
        return describe_onnx(self._path)
