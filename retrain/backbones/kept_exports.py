"""What exports need of a backbone, kept beside its bottlenecks, so that a later run need not load the network."""

import os
from importlib import metadata
from pathlib import Path

import retrain
from retrain.backbones.extractor import Extractor
from retrain.cache import Artifacts, find_folder, read_details

__all__ = ["TRUNK", "KeptExports", "kept_trunk", "tensorflow_version"]

TRUNK = "graph"  # the artifact with the backbone's graph

_FORM = 2  # raised when the same network gives another graph


class KeptExports(Artifacts):
    """The artifacts of a backbone; of use to the same versions of this program and of TensorFlow.

    Args:
        backbone: in float32, as it is exported whatever computes the bottlenecks.
        cache_dir: the cache.
    """

    def __init__(self, backbone: Extractor, cache_dir: str | os.PathLike[str]) -> None:
        made_by = {"retrain": retrain.__version__, "tensorflow": tensorflow_version(), "form": _FORM}
        super().__init__(cache_dir, backbone.name, backbone.fingerprint, backbone.description, made_by)


def tensorflow_version() -> str:
    """The version that is installed, under whatever name (tensorflow-cpu, tf-nightly); empty if there is none.

    Importing it to ask would take seconds.
    """
    try:
        return metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get("tensorflow", [])
        return metadata.version(names[0]) if names else ""


def kept_trunk(cache_dir: str | os.PathLike[str], name: str, fingerprint: str) -> tuple[str, int] | None:
    """The graph that the cache holds of a backbone: its SHA-256 and its length; None if it has none.

    It is not read: whoever has the same graph finds out by the digest. Of whatever version it is, the backbone of this
    fingerprint was turned into it.
    """
    found = read_details(find_folder(Path(cache_dir), name, fingerprint), fingerprint, TRUNK)
    digest = found[0].get("digest") if found else None
    return (str(digest), found[1]) if found and digest is not None else None
