"""The SavedModel: picture files or pixels in, scores and labels out.

TensorFlow needs seconds to trace and save one. So it does that once (`template`), and a run fills in the numbers.
"""

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.errors import OutputError
from retrain.export.checkpoint import Variable, write_checkpoint
from retrain.export.source import TrainedNetwork
from retrain.files import write_whole
from retrain.model import KNOWN, Activation, Rejection
from retrain.paths import display_path
from retrain.tensorflow_formats import SavedModel as SavedModelMessage

__all__ = ["OBJECT_GRAPH", "HeadForm", "SavedModel", "Template", "reason_of"]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the entry of a checkpoint that says whose the others are
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TEMPLATE = "saved_model"  # how files in the cache begin


@dataclass(frozen=True)
class HeadForm:
    """All that a template depends on beside the backbone."""

    final_tensor_name: str
    layers: int  # of the head
    activation: Activation
    tells_known: bool = False  # whether it also gives `known`

    @classmethod
    def of(cls, network: TrainedNetwork) -> "HeadForm":
        """The form of a network's head."""
        head = network.head
        return cls(network.final_tensor_name, len(head.layers), head.activation, head.rejection is not None)

    @property
    def details(self) -> dict[str, Any]:
        """What the cache notes of it. Templates of plain softmax have been kept without the rest from the start."""
        details: dict[str, Any] = {"final_tensor_name": self.final_tensor_name, "layers": self.layers}
        if self.activation != "softmax":
            details["activation"] = self.activation
        return details | ({"outputs": KNOWN} if self.tells_known else {})

    @property
    def kept_as(self) -> str:
        """The name of its template in the cache."""
        digest = hashlib.sha256(self.final_tensor_name.encode()).hexdigest()[:8]
        kind = "" if self.activation == "softmax" else f"{self.activation}-"
        known = f"{KNOWN}-" if self.tells_known else ""
        return f"{_TEMPLATE}-{self.layers}-{kind}{known}{digest}"


@dataclass(frozen=True)
class Template:
    """A SavedModel without its numbers."""

    model: bytes  # content of saved_model.pb, for any number of classes
    object_graph: bytes  # where its checkpoint says that the variables are


class SavedModel:
    """Writes a SavedModel.

    Signature `serving_default`: `image_bytes` (n,) string, the bytes of pictures (over REST: {"b64": ...}).
    Signature `pixels`: `pixels` (n, height, width, 3) float32 in [0, 1].
    Both give the scores (n, classes) float32 under the final tensor's name, and `labels` (n, classes) string in the
    order of the scores; a model of several labels also gives `thresholds` (n, classes) float32, and one that tells
    pictures of no class `known` (n, 1) float32 in [0, 1].

    It has no fingerprint.pb: that has hashes of TensorFlow's own, which nothing checks, and TensorFlow loads a
    SavedModel without one silently.
    """

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Write the folder, which is empty or missing.

        Returns the SHA-256 of the file with the backbone's weights. Raises OutputError.
        """
        folder = Path(place)
        try:
            for part in ("assets", "variables"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            template = _template_for(network, place)
            files = write_checkpoint(folder / "variables" / "variables", _variables(template, network))
            write_whole(folder / "saved_model.pb", _with_classes(template, network))
        except OSError as error:
            raise _not_written(place, error) from error
        return {f"variables/{files[0]}": network.trunk.weights_digest}


def _template_for(network: TrainedNetwork, place: str | os.PathLike[str]) -> Template:
    """Find the template in the cache. If it must be made, it is saved to `place` on the way."""
    form = HeadForm.of(network)
    # the trunk's weights have no names in a SavedModel, only their places in the graph
    details = {"trunk": network.trunk.digest, **form.details}
    found = network.source.find(form.kept_as)
    if found is not None and found[0].items() >= details.items():
        length = found[0]["model_bytes"]
        return Template(bytes(found[1][:length]), bytes(found[1][length:]))
    template = _make_template(network, place)
    details["model_bytes"] = len(template.model)
    network.source.keep(form.kept_as, details, [template.model, template.object_graph])
    return template


def _make_template(network: TrainedNetwork, place: str | os.PathLike[str]) -> Template:
    """Raises OutputError."""
    from retrain._tensorflow import tf
    from retrain.export.template import make_template

    try:
        return make_template(network.trunk, network.source.form, HeadForm.of(network), place)
    except tf.errors.OpError as error:
        raise _not_written(place, error) from error


def _variables(template: Template, network: TrainedNetwork) -> list[list[Variable]]:
    """The numbers of a network, in two data files: the backbone's weights, which stay the same, and the others."""
    trunk = network.trunk
    backbone = [
        Variable(f"backbone/{number}{_VALUE}", weight.dtype, weight.shape, trunk.values(weight), weight.crc32c)
        for number, weight in enumerate(trunk.weights)
    ]
    labels = [label.encode() for label in network.labels]
    others = [
        Variable.of_texts(OBJECT_GRAPH, [template.object_graph], ()),
        Variable.of_texts(f"labels{_VALUE}", labels, (len(labels),)),
    ]
    if network.head.thresholds is not None:
        others.append(Variable.of_array(f"thresholds{_VALUE}", network.head.thresholds))
    if network.head.rejection is not None:
        arrays = arrays_of(network.head.rejection)
        others += [Variable.of_array(f"rejection/{number}{_VALUE}", array) for number, array in enumerate(arrays)]
    for number, layer in enumerate(network.head.layers):
        others += [
            Variable.of_array(f"head/{number}/{part}{_VALUE}", array)
            for part, array in enumerate((layer.weights, layer.biases))
        ]
    return [backbone, others]


def _with_classes(template: Template, network: TrainedNetwork) -> bytes:
    """The content of saved_model.pb, which tells the clients of a server how many classes there are."""
    model = SavedModelMessage.FromString(template.model)
    for signature in ("serving_default", "pixels"):
        outputs = model.meta_graphs[0].signature_def[signature].outputs
        for name in outputs:
            outputs[name].tensor_shape.dim[1].size = 1 if name == KNOWN else len(network.labels)
    return bytes(model.SerializeToString(deterministic=True))


def arrays_of(rejection: Rejection) -> tuple[NDArray[np.float32], ...]:
    """Its numbers, in the order of the variables of a template."""
    numbers = np.float32(rejection.limit.threshold), np.float32(rejection.limit.scale)
    return rejection.directions, rejection.slopes, rejection.offsets, *map(np.asarray, numbers)


def reason_of(error: Exception) -> str:
    """Return why a file couldn't be written, in the words of the operating system.

    TensorFlow's own messages name operations, devices and temporary files.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = str(getattr(error, "message", error))
    known = [reason for reason in map(os.strerror, errno.errorcode) if reason in message]
    return max(known, key=len, default=message.partition("\n")[0])


def _not_written(folder: str | os.PathLike[str], error: Exception) -> OutputError:
    return OutputError(f"can't write the SavedModel {display_path(folder)}: {reason_of(error)}")
