"""The networks that have a name: facts about each, which are on this machine, and how to get the others."""

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retrain.backbones.backbone import (
    NAMES,
    ONNX_SUFFIX,
    BackboneSource,
    digest_of_files,
    input_size_of,
    locate_backbone,
)
from retrain.backbones.sources import keras_weights
from retrain.backbones.sources.download_folder import download_folder, locked, make_folder
from retrain.backbones.sources.efficientnet_lite import LITE_NETWORKS
from retrain.errors import BackboneError, OutputError
from retrain.files import write_whole
from retrain.machine import cores, processor_name
from retrain.options import BackboneOptions
from retrain.paths import display_path

__all__ = ["Entry", "fetch_backbone", "licence_of", "list_backbones", "note_speed"]

_MB = 10**6


@dataclass(frozen=True)
class _Facts:
    """What is published about a network."""

    megabytes: int  # its weights without the classifier; for Lite, the whole file
    length: int  # of its vector
    top1: float | None  # accuracy on ImageNet's 1,000 classes, percent
    licence: str  # of the weights
    file: str | None = None  # the one that Keras publishes


@dataclass(frozen=True)
class Entry:
    """A network as `retrain backbones` lists it."""

    name: str
    state: str  # "here", "download" or "package": how to get it
    where: str | None  # file or folder, or the name of the package; None: to be downloaded
    megabytes: float | None
    input_size: int | None  # pixels
    bottleneck_size: int | None
    imagenet_top1: float | None  # percent, as published
    weights_licence: str | None
    pictures_per_second: float | None  # in float32, measured on this machine by `retrain extract --benchmark`

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


_KERNELS = "_weights_tf_dim_ordering_tf_kernels_notop.h5"

# Accuracy: from the documentation of Keras Applications; for Lite, from its authors. Licences of the weights: from that
# documentation, or (EfficientNet, MobileNetV3, ConvNeXt) from the repository that they come from.
FACTS = {
    "convnext_base": _Facts(350, 1024, 85.3, "MIT", "convnext_base_notop.h5"),
    "convnext_large": _Facts(785, 1536, 86.3, "MIT", "convnext_large_notop.h5"),
    "convnext_small": _Facts(198, 768, 82.3, "MIT", "convnext_small_notop.h5"),
    "convnext_tiny": _Facts(111, 768, 81.3, "MIT", "convnext_tiny_notop.h5"),
    "convnext_xlarge": _Facts(1393, 2048, 86.7, "MIT", "convnext_xlarge_notop.h5"),
    "densenet121": _Facts(28, 1024, 75.0, "BSD-3-Clause", f"densenet121{_KERNELS}"),
    "densenet169": _Facts(51, 1664, 76.2, "BSD-3-Clause", f"densenet169{_KERNELS}"),
    "densenet201": _Facts(73, 1920, 77.3, "BSD-3-Clause", f"densenet201{_KERNELS}"),
    "efficientnet_b0": _Facts(16, 1280, 77.1, "Apache-2.0", "efficientnetb0_notop.h5"),
    "efficientnet_b1": _Facts(26, 1280, 79.1, "Apache-2.0", "efficientnetb1_notop.h5"),
    "efficientnet_b2": _Facts(31, 1408, 80.1, "Apache-2.0", "efficientnetb2_notop.h5"),
    "efficientnet_b3": _Facts(43, 1536, 81.6, "Apache-2.0", "efficientnetb3_notop.h5"),
    "efficientnet_b4": _Facts(71, 1792, 82.9, "Apache-2.0", "efficientnetb4_notop.h5"),
    "efficientnet_b5": _Facts(114, 2048, 83.6, "Apache-2.0", "efficientnetb5_notop.h5"),
    "efficientnet_b6": _Facts(164, 2304, 84.0, "Apache-2.0", "efficientnetb6_notop.h5"),
    "efficientnet_b7": _Facts(256, 2560, 84.3, "Apache-2.0", "efficientnetb7_notop.h5"),
    "efficientnet_lite0": _Facts(19, 1280, 75.1, "Apache-2.0"),
    "efficientnet_lite1": _Facts(22, 1280, 76.7, "Apache-2.0"),
    "efficientnet_lite2": _Facts(25, 1280, 77.6, "Apache-2.0"),
    "efficientnet_v2_b0": _Facts(24, 1280, 78.7, "Apache-2.0", "efficientnetv2-b0_notop.h5"),
    "efficientnet_v2_b1": _Facts(28, 1280, 79.8, "Apache-2.0", "efficientnetv2-b1_notop.h5"),
    "efficientnet_v2_b2": _Facts(35, 1408, 80.5, "Apache-2.0", "efficientnetv2-b2_notop.h5"),
    "efficientnet_v2_b3": _Facts(52, 1536, 82.0, "Apache-2.0", "efficientnetv2-b3_notop.h5"),
    "efficientnet_v2_l": _Facts(471, 1280, 85.7, "Apache-2.0", "efficientnetv2-l_notop.h5"),
    "efficientnet_v2_m": _Facts(213, 1280, 85.3, "Apache-2.0", "efficientnetv2-m_notop.h5"),
    "efficientnet_v2_s": _Facts(81, 1280, 83.9, "Apache-2.0", "efficientnetv2-s_notop.h5"),
    "inception_resnet_v2": _Facts(217, 1536, 80.3, "Apache-2.0", f"inception_resnet_v2{_KERNELS}"),
    "inception_v3": _Facts(87, 2048, 77.9, "Apache-2.0", f"inception_v3{_KERNELS}"),
    "mobilenet": _Facts(13, 1024, 70.4, "Apache-2.0", "mobilenet_1_0_224_tf_no_top.h5"),
    "mobilenet_v2": _Facts(
        9, 1280, 71.3, "Apache-2.0", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    ),
    "mobilenet_v3_large": _Facts(12, 960, 75.6, "Apache-2.0", "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5"),
    "mobilenet_v3_small": _Facts(4, 576, 68.1, "Apache-2.0", "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"),
    "nasnet_large": _Facts(340, 4032, 82.5, "Apache-2.0", "nasnet_large_no_top.h5"),
    "nasnet_mobile": _Facts(17, 1056, 74.4, "Apache-2.0", "nasnet_mobile_no_top.h5"),
    "resnet101": _Facts(171, 2048, 76.4, "MIT", f"resnet101{_KERNELS}"),
    "resnet101_v2": _Facts(171, 2048, 77.2, "BSD-3-Clause", f"resnet101v2{_KERNELS}"),
    "resnet152": _Facts(233, 2048, 76.6, "MIT", f"resnet152{_KERNELS}"),
    "resnet152_v2": _Facts(233, 2048, 78.0, "BSD-3-Clause", f"resnet152v2{_KERNELS}"),
    "resnet50": _Facts(94, 2048, 74.9, "MIT", f"resnet50{_KERNELS}"),
    "resnet50_v2": _Facts(94, 2048, 76.0, "BSD-3-Clause", f"resnet50v2{_KERNELS}"),
    "vgg16": _Facts(59, 512, 71.3, "CC-BY-4.0", f"vgg16{_KERNELS}"),
    "vgg19": _Facts(80, 512, 71.3, "CC-BY-4.0", f"vgg19{_KERNELS}"),
    "xception": _Facts(83, 2048, 79.0, "MIT", f"xception{_KERNELS}"),
}


def licence_of(name: str) -> str | None:
    """The licence of a network's weights, by its name (mobilenet_v2_0.50_160). None if nobody knows."""
    families = (family for family in sorted(FACTS, key=len, reverse=True) if name.startswith(family))
    return next((FACTS[family].licence for family in families), None)


def list_backbones() -> list[Entry]:
    """All networks that have a name, and others in the folder RETRAIN_BACKBONES; none is loaded."""
    speeds = _speeds()
    entries = [_entry(name, speeds.get(name)) for name in sorted(NAMES)]
    folder = os.environ.get("RETRAIN_BACKBONES")
    more = sorted(Path(folder).iterdir()) if folder and Path(folder).is_dir() else []
    for path in more:
        name = path.stem if path.suffix == ONNX_SUFFIX else path.name
        if name not in NAMES and (path.suffix == ONNX_SUFFIX or (path / "saved_model.pb").is_file()):
            entries.append(Entry(name, "here", str(path), _megabytes(path), None, None, None, None, speeds.get(name)))
    return entries


def _entry(name: str, speed: float | None) -> Entry:
    facts = FACTS[name]
    state, where = "download", None
    size: float = facts.megabytes
    try:
        source = locate_backbone(BackboneOptions(backbone=name)).source
        path = _path_of(source, facts.file)
        if path is not None:
            state, where, size = "here", str(path), _megabytes(path)
    except BackboneError:  # a refused folder of downloads matters when fetching and loading, not for a list
        if name in LITE_NETWORKS:
            state, where = "package", LITE_NETWORKS[name].package
    return Entry(name, state, where, size, input_size_of(name), facts.length, facts.top1, facts.licence, speed)


def _path_of(source: BackboneSource, file: str | None) -> Path | None:
    if source.location is not None:
        return Path(source.location)
    return keras_weights.find_weights(file) if file else None


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / _MB, 1)


def fetch_backbone(name: str, to: str | os.PathLike[str] | None = None) -> Path:
    """Get the weights of a network ahead of time; downloads them if they are not on this machine.

    Args:
        name: or a URL.
        to: a folder for a copy, for RETRAIN_BACKBONES here or on another machine.
    Returns the file or folder. Raises BackboneError, and OutputError if the copy can't be written.
    """
    source = locate_backbone(BackboneOptions(backbone=name)).source
    target = source.name
    if source.kind == "hub":
        from retrain.backbones.sources import hub

        path = hub.resolve_handle(str(source.location))
    elif source.location is None:
        from retrain.backbones.keras_networks import published_weights

        path = published_weights(source)
        target = path.name
    else:
        path = Path(source.location)
        if path.is_file():
            target = f"{source.architecture}{path.suffix}" if source.architecture in LITE_NETWORKS else path.name
    return path if to is None else _copy(path, Path(to) / target)


def _copy(path: Path, target: Path) -> Path:
    """Copy a file or folder, whole or not at all; an equal one that exists already is kept."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if digest_of_files(target) == digest_of_files(path):
                return target
            raise OutputError(f"{display_path(target)} exists already and differs: remove it, or give another DIR")
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent) as place:
            whole = Path(place) / target.name
            if path.is_dir():
                shutil.copytree(path, whole)
            else:
                shutil.copyfile(path, whole)
            os.replace(whole, target)
    except OSError as error:
        raise OutputError(f"can't copy to {display_path(target)}: {error.strerror or error}") from error
    return target


def note_speed(name: str, rate: float | None) -> None:
    """Remember for the list how fast a network is on this machine, if that can be written.

    Args:
        rate: pictures per second in float32.
    """
    with contextlib.suppress(OSError, BackboneError):
        folder = download_folder("speeds", write=False)
        if not folder.is_absolute():  # there is no home
            return
        make_folder(folder)
        path = folder / "speeds.json"
        with locked(path, "speeds"):
            known = _read(path)
            known.setdefault(_machine(), {})[name] = rate
            write_whole(path, json.dumps(known, indent=1).encode())


def _speeds() -> dict[str, float]:
    """Pictures per second of networks that were measured on a machine like this."""
    try:
        folder = download_folder("speeds", write=False)
    except BackboneError:
        return {}
    found = _read(folder / "speeds.json").get(_machine(), {})
    return {name: rate for name, rate in found.items() if isinstance(rate, int | float)}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, dict)} if isinstance(known, dict) else {}


def _machine() -> str:
    return f"{processor_name()}, {cores()} cores"
