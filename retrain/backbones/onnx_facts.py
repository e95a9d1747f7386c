"""What exports and their readers want to know of an ONNX backbone, found out once and kept beside its bottlenecks."""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import retrain
from retrain.backbones.conversion import probe_picture
from retrain.backbones.onnx_backbone import OnnxBackbone
from retrain.backbones.onnx_graph import set_batch
from retrain.backbones.onnx_network import OnnxError, OnnxNetwork
from retrain.cache import Artifacts, find_folder, read_details
from retrain.events import Emit, Warned

__all__ = ["OnnxFacts", "kept_onnx_graph", "onnx_facts_of"]

_NAME = "onnx"  # of the artifact
_CLOSE = 1e-4  # how far a number may be off in a batch; for numbers above 1, of the largest


@dataclass(frozen=True)
class OnnxFacts:
    """Of a backbone's graph."""

    digest: str  # its SHA-256, hexadecimal
    probe: NDArray[np.float32]  # (length,) what it gives for `probe_picture`
    takes_batches: bool  # whether several pictures in one call get the vectors that each gets alone


def kept_onnx_graph(cache_dir: str | os.PathLike[str], name: str, fingerprint: str) -> str | None:
    """The SHA-256 of the graph that the cache knows an ONNX backbone by; None if it knows none."""
    found = read_details(find_folder(Path(cache_dir), name, fingerprint), fingerprint, _NAME)
    digest = found[0].get("digest") if found else None
    return None if digest is None else str(digest)


def onnx_facts_of(backbone: OnnxBackbone, cache_dir: str | os.PathLike[str], emit: Emit) -> OnnxFacts:
    """The facts that the cache has of a backbone; if it has none, they are found out. Raises BackboneError."""
    made_by = {"retrain": retrain.__version__}
    artifacts = Artifacts(cache_dir, backbone.name, backbone.fingerprint, backbone.description, made_by)
    found = artifacts.find(_NAME)
    for warning in artifacts.warnings:
        emit(Warned(warning))
    if found is not None:
        details = found[0]
        probe = np.frombuffer(base64.b64decode(details["probe"]), "<f4")
        return OnnxFacts(details["digest"], probe, details["takes_batches"])
    facts = _found_out(backbone)
    encoded = base64.b64encode(facts.probe.astype("<f4").tobytes()).decode()
    artifacts.keep(_NAME, vars(facts) | {"probe": encoded}, _NOTHING)
    return facts


_NOTHING: Sequence[bytes] = ()


def _found_out(backbone: OnnxBackbone) -> OnnxFacts:
    graph = backbone.graph()
    digest = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()
    network = backbone.network
    probe = probe_picture(network.height, network.width)
    pictures = np.stack([probe, 255 - probe, np.zeros_like(probe)])
    alone = network.bottlenecks(pictures)
    return OnnxFacts(digest, alone[0], _takes_batches(graph, pictures, alone))


def _takes_batches(graph: Any, pictures: NDArray[np.uint8], alone: NDArray[np.float32]) -> bool:
    """Try it: whatever the file says, sizes in its inner parts may be of one picture."""
    set_batch(graph, None)
    try:
        together = OnnxNetwork(graph.SerializeToString(deterministic=True)).together(pictures)
    except OnnxError:
        return False
    scale = max(1.0, float(np.abs(alone).max()))
    return together.shape == alone.shape and float(np.abs(together - alone).max()) <= _CLOSE * scale
