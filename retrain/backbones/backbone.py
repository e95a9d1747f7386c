"""Find the frozen network that the user means, and where its weights are.

TensorFlow is imported when the network itself is needed.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from retrain.backbones.extractor import Extractor, ExtractorNetwork
from retrain.backbones.sources.efficientnet_lite import LITE_NETWORKS, find_weights
from retrain.backbones.sources.known_digests import known_digest
from retrain.data import DECODER_VERSION, unusual
from retrain.errors import BackboneError
from retrain.files import digest_of_file
from retrain.options import BackboneOptions
from retrain.options.fields import flag_of
from retrain.paths import display_path

if TYPE_CHECKING:
    from retrain.backbones.network import Network

__all__ = ["Backbone", "BackboneSource", "load_network", "locate_backbone"]

# Input sizes of Keras Applications' networks that are not 224.
_INPUT_SIZES = {
    "inception_v3": 299,
    "inception_resnet_v2": 299,
    "xception": 299,
    "nasnet_large": 331,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "efficientnet_v2_b1": 240,
    "efficientnet_v2_b2": 260,
    "efficientnet_v2_b3": 300,
    "efficientnet_v2_s": 384,
    "efficientnet_v2_m": 480,
    "efficientnet_v2_l": 480,
}

# All others: their input size is 224.
_OTHER_NAMES = (
    *("convnext_tiny", "convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"),
    *("densenet121", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_v2_b0"),
    *("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "nasnet_mobile"),
    *("resnet50", "resnet101", "resnet152", "resnet50_v2", "resnet101_v2", "resnet152_v2", "vgg16", "vgg19"),
)

KERAS_NAMES = (*_INPUT_SIZES, *_OTHER_NAMES)

NAMES = (*KERAS_NAMES, *LITE_NETWORKS)

# inceptionv3 -> inception_v3: other spellings of names.
_SPELLINGS = {name.replace("_", ""): name for name in NAMES}

DEFAULT = "inception_v3"  # if none is named

ONNX_SUFFIX = ".onnx"
_ONNX_OPTIONS = ("input_mean", "input_std", "input_channels", "input_layout", "backbone_output", "pooling")

# The default of the original program's --tfhub_module; it and its later versions mean our inception_v3.
_ORIGINAL_MODULE = re.compile(r"https://tfhub\.dev/google/imagenet/inception_v3/feature_vector/\d+")

# such as mobilenet_v2_0.50_160: a name, the width multiplier, the input size
_SIZED_NAME = re.compile(r"(?P<name>mobilenet(_v2|_v3_small|_v3_large)?)_(?P<alpha>\d\.\d+)_(?P<size>\d+)")


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone comes from."""

    name: str  # what the user calls it, fit for a folder's name
    # "keras": a network that Keras builds; "saved_model": a SavedModel or TF1-Hub folder; "hub": a URL; "onnx": a file
    kind: str
    location: str | None  # weights file (None: Keras downloads them), SavedModel folder, URL, or ONNX file
    architecture: str | None = None  # the network's name
    alpha: float = 1.0  # width multiplier of the MobileNets
    input_size: int | None = None  # pixels; None: as the model says
    input_range: str | None = None  # "0..1", "-1..1", "0..255"; None: as Keras says
    fit: str = BackboneOptions.fit
    depth: str = BackboneOptions.depth
    weights_sha256: str | None = None  # that the weights file must have; None: any
    trust: bool = False  # run it whatever its graph may do

    @property
    def network(self) -> str:
        """What tells a network that Keras builds from all others."""
        return f"{self.architecture} {self.alpha} {self.input_size}"


class Backbone(Extractor):
    """A frozen network by its source.

    Its fingerprint is made of what decides the vector: the weights (the bytes of the files, or the arrays where Keras
    downloads them), architecture, input size and range, how pictures are
    fitted and deep pixels scaled, the decoder's version, and the
    precision.

    Args:
        source: where it comes from.
        instead_of: the name of the backbone that it replaces, which could not be had.
    """

    def __init__(self, source: BackboneSource, instead_of: str | None = None) -> None:
        super().__init__(source.name, self._describe, self._load_network)
        self.source, self.instead_of = source, instead_of

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of it. Raises BackboneError if it is found to be of no use."""
        return ()

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX network, of which TensorFlow has no form."""
        return self.source.kind == "onnx"

    @property
    def tensorflow_network(self) -> "Network":
        """The network, which TensorFlow runs; imports it. Raises BackboneError."""
        return cast("Network", self.network)

    def openvino_form(self) -> tuple[str, bytes]:
        """A file that OpenVINO reads, from (n, height, width, 3) float32 in [0, 1]: its name, its content."""
        return "float32.pb", self.tensorflow_network.frozen_graph.graph_def.SerializeToString()

    def _load_network(self) -> ExtractorNetwork:
        return load_network(self.source)

    def _describe(self) -> dict[str, Any]:
        source = self.source
        return {
            "architecture": source.architecture if source.kind == "keras" else None,
            "alpha": source.alpha,
            "weights": self._weights_digest(),
            "input_size": source.input_size,
            "input_range": source.input_range,
            "decoder": DECODER_VERSION,
            "precision": "float32",
            "cut": "bottleneck",
        } | unusual(source)

    def _weights_digest(self) -> str:
        if self.source.location is None:
            return known_digest(self.source.network) or self.tensorflow_network.weights_digest()
        return digest_of_files(_place_of(self.source))


def load_network(source: BackboneSource) -> "Network":
    """Load a network; imports TensorFlow, and downloads what is missing. Raises BackboneError."""
    if source.kind == "keras":
        from retrain.backbones.keras_networks import load_keras

        return load_keras(source)
    from retrain.backbones.saved_models import load_saved_model

    return load_saved_model(str(_place_of(source)), source)


def _place_of(source: BackboneSource) -> Path:
    """The file or folder on this machine; a URL is downloaded."""
    if source.kind != "hub":
        return Path(str(source.location))
    from retrain.backbones.sources import hub

    return hub.resolve_handle(str(source.location))


def locate_backbone(options: BackboneOptions) -> Backbone:
    """Find the backbone that the options mean; Inception v3 if they name none.

    A name is looked up in the folder that RETRAIN_BACKBONES names, then among installed packages, then in Keras
    Applications, which downloads it.

    Raises BackboneError if a file, folder or package is missing, or if options don't go together.
    """
    wanted = options.backbone or DEFAULT
    if _ORIGINAL_MODULE.fullmatch(wanted):
        wanted = DEFAULT
    if wanted.lower().endswith(ONNX_SUFFIX):
        return _onnx(wanted, options)
    folder = os.environ.get("RETRAIN_BACKBONES")
    if folder and re.fullmatch(r"[\w.-]+", wanted) and Path(folder, wanted + ONNX_SUFFIX).is_file():
        return _onnx(os.path.join(folder, wanted + ONNX_SUFFIX), options)
    _refuse_onnx_options(options)
    if "://" in wanted:
        _refuse_weights(options, "a URL")
        return Backbone(
            BackboneSource(
                name=_folder_name(re.sub(r"^\w+://[^/]+/|\?.*$|\.tar\.gz$", "", wanted)),
                kind="hub",
                location=wanted,
                input_size=options.input_size,
                input_range=options.input_range or "0..1",
                fit=options.fit,
                depth=options.depth,
                trust=options.trust,
            )
        )
    if os.sep in wanted or _is_saved_model(Path(wanted)):
        if not _is_saved_model(Path(wanted)):
            raise BackboneError(
                f"no SavedModel in {display_path(wanted)}: expected a folder with saved_model.pb; "
                "give such a folder, an ONNX file (.onnx), a network's name or a URL"
            )
        return _saved_model(Path(wanted), options, Path(wanted).resolve().name, options.input_size)
    return _named(wanted, options)


def _onnx(path: str, options: BackboneOptions) -> Backbone:
    _refuse_weights(options, "an ONNX file")
    if "://" in path:
        raise BackboneError(f"the backbone {path} is on the web: download the ONNX file, and give its path here")
    file = Path(path)
    if not file.is_file():
        raise BackboneError(f"no such ONNX file: {display_path(file)}")
    from retrain.backbones.onnx_backbone import OnnxBackbone

    source = BackboneSource(
        name=_folder_name(file.stem), kind="onnx", location=str(file), fit=options.fit, depth=options.depth
    )
    return OnnxBackbone(source, options)


def _refuse_onnx_options(options: BackboneOptions) -> None:
    given = [flag_of(name) for name in _ONNX_OPTIONS if getattr(options, name) is not None]
    if given:
        raise BackboneError(
            f"{given[0]} is for ONNX backbones, and {options.backbone or DEFAULT} is none: leave it out"
        )


def _named(wanted: str, options: BackboneOptions) -> Backbone:
    """A backbone by its name: from RETRAIN_BACKBONES, --weights, or Keras Applications."""
    wanted = _SPELLINGS.get(re.sub("[-_]", "", wanted.lower()), wanted)
    match = _SIZED_NAME.fullmatch(wanted)
    architecture = match["name"] if match else wanted
    alpha = float(match["alpha"]) if match else 1.0
    said = options.input_size or (int(match["size"]) if match else None)
    lite = LITE_NETWORKS.get(architecture)
    size = said or input_size_of(architecture)
    location: Path | None = None
    folder = os.environ.get("RETRAIN_BACKBONES")
    if options.weights is not None:
        location = Path(options.weights)
        if not location.is_file():
            raise BackboneError(f"no such weights file: {display_path(location)} (--weights)")
    elif folder:
        if not Path(folder).is_dir():
            raise BackboneError(
                f"RETRAIN_BACKBONES names {display_path(folder)}, which is not a folder: correct or unset it"
            )
        if _is_saved_model(Path(folder) / wanted):
            return _saved_model(Path(folder) / wanted, options, wanted, said)
        location = _weights_in(Path(folder), architecture, alpha, size)
    if options.input_range:
        raise BackboneError(f"--input-range is for SavedModel, Hub and ONNX backbones; {wanted} looks after its own")
    is_packaged = lite is not None and location is None
    if is_packaged:
        location = find_weights(architecture)
    return Backbone(
        BackboneSource(
            name=wanted if re.fullmatch(r"[\w.-]+", wanted) else _folder_name(wanted),
            kind="keras",
            location=None if location is None else str(location),
            architecture=architecture,
            alpha=alpha,
            input_size=size,
            fit=options.fit,
            depth=options.depth,
            weights_sha256=lite.sha256 if lite and is_packaged else None,
        )
    )


def input_size_of(architecture: str) -> int:
    """The side of the square pictures that a network was trained on, in pixels."""
    lite = LITE_NETWORKS.get(architecture)
    return lite.size if lite else _INPUT_SIZES.get(architecture, 224)


def _saved_model(folder: Path, options: BackboneOptions, name: str, size: int | None) -> Backbone:
    _refuse_weights(options, "a SavedModel folder")
    return Backbone(
        BackboneSource(
            name=_folder_name(name),
            kind="saved_model",
            location=str(folder),
            input_size=size,
            input_range=options.input_range or "0..1",  # the convention of TensorFlow Hub
            fit=options.fit,
            depth=options.depth,
            trust=options.trust,
        )
    )


def _refuse_weights(options: BackboneOptions, what: str) -> None:
    if options.weights is not None:
        raise BackboneError(f"--weights goes with the name of a network, not with {what} ({options.backbone})")


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def _weights_in(folder: Path, architecture: str, alpha: float, size: int) -> Path | None:
    """A weights file of an architecture, such as mobilenet_v2_1.0_224.weights.h5: the one nearest in size."""
    pattern = re.compile(
        re.escape(architecture) + r"(_(?P<alpha>\d\.\d+)(_(?P<size>\d+))?)?(\.weights)?\.(h5|keras|pth)"
    )
    found = []
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match and float(match["alpha"] or 1.0) == alpha:
            found.append((abs(int(match["size"] or size) - size), path))
    return min(found)[1] if found else None


def _folder_name(text: str) -> str:
    """A text in letters, digits, dots, dashes and underscores; only the end of a long one."""
    return re.sub(r"[^\w.-]+", "_", text)[-60:].strip("_.-") or "backbone"


def digest_of_files(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder. Raises BackboneError."""
    digest = hashlib.sha256()
    try:
        if not path.is_dir():
            return digest_of_file(path)
        for file in sorted(Path(root, name) for root, _, names in os.walk(path, followlinks=True) for name in names):
            # fingerprint.pb is TensorFlow's note about the other files, and may be missing
            if file.is_file() and file.name != "fingerprint.pb":
                digest.update(f"{file.relative_to(path).as_posix()}\0{digest_of_file(file)}\n".encode())
    except OSError as error:
        raise BackboneError(f"can't read the backbone {display_path(path)}: {error.strerror}") from error
    return digest.hexdigest()
