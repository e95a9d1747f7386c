"""Fine-tuning as part of a run: where the backbone is cut, what that costs, and what comes out."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

import retrain
from retrain._tensorflow import tf
from retrain.backbones.activations import activations_at
from retrain.backbones.backbone import Backbone
from retrain.backbones.graph_cut import Cut, find_cut
from retrain.cache.fingerprint import fingerprint_of
from retrain.cache.folder import find_folder
from retrain.cache.vectors import LabelledBottlenecks, VectorSource
from retrain.errors import CacheError
from retrain.events import Emit, EpochEnded, Noted, StageBegan
from retrain.extraction.dataset import Dataset
from retrain.model.head import Head
from retrain.options import RunOptions, TrainingOptions
from retrain.text import counted
from retrain.training.checkpoint import CheckpointFile
from retrain.training.fine_tuning import FineTuned, FineTuner, FineTuningSession, fine_tuning_options

if TYPE_CHECKING:
    from retrain.export.graph import GraphBuilder

__all__ = ["EpochRecorder", "FineTunedBackbone", "FineTuning", "FineTuningPlan"]

_FLOAT16_BYTES = 2


class FineTunedBackbone:
    """What a backbone has become; its name, and a fingerprint of its own, for a model to be known by.

    Args:
        backbone: as it was.
        digest: SHA-256 of its graph with the new weights.
    """

    def __init__(self, backbone: Backbone, digest: str) -> None:
        self.name = backbone.name
        self.description: dict[str, Any] = backbone.description | {"fine_tuned": digest}
        self.fingerprint = fingerprint_of(self.description)


@dataclass(frozen=True)
class FineTuning:
    """What fine-tuning did, for the record."""

    cut: Cut
    options: TrainingOptions  # of the head and the layers together
    tuned: FineTuned
    checkpoint: CheckpointFile  # of the last epoch; of no use once the model is written

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "cut": self.cut.tensor,
            "activations": list(self.cut.shape),
            "layers": list(self.cut.layers),
            "weights": sum(int(part.size) for part in self.tuned.weights.values()),
            "optimizer": self.options.optimizer,
            "learning_rate": self.options.learning_rate,
            "batch_size": self.options.batch_size,
            "epochs": self.tuned.history[-1].epoch,
            "best_epoch": self.tuned.best_epoch,
        }


class EpochRecorder(Protocol):
    """Measures more than fine-tuning itself needs to know of a finished epoch."""

    def measure(self, head: Head, weights: Sequence[Any]) -> Any:
        """What is to be kept of the epoch that has just ended, for JSON."""

    def restore(self, kept: Sequence[Any]) -> None:
        """Take over what `measure` gave for the epochs of an earlier run."""


class FineTuningPlan:
    """Fine-tuning within one run.

    Pass one ends at the cut: bottlenecks are computed from the activations there, for the head to be trained on first.

    Args:
        graph: of the backbone.
        options: that ask for fine-tuning.
    Raises UsageError, BackboneError where the backbone can't be cut so.
    """

    def __init__(self, graph: "GraphBuilder", options: RunOptions) -> None:
        self._graph, self._options = graph, options
        self.cut = find_cut(graph.trunk, options.fine_tuning)
        self.extractor = activations_at(self.cut, graph.backbone, graph.trunk)

    def announce(self, pictures: int, emit: Emit) -> None:
        """Say how much will be cached. Raises CacheError where that is over --max-cache-size."""
        copies, most = self._options.augmentation.augment, self._options.fine_tuning.max_cache_size
        each = _FLOAT16_BYTES * self.cut.size
        total = each * pictures * (1 + copies)
        what = counted(pictures, "picture") + (
            f" and at most {counted(copies, 'distorted copy')} of each" if copies else ""
        )
        shape = " x ".join(map(str, self.cut.shape))
        text = f"activations below {self.cut.layers[0]}: {shape} in float16, {_amount(total)} for {what}"
        if total > most * 2**30:
            raise CacheError(
                f"{text}: more than --max-cache-size {most:g} GiB; raise it, choose a later layer to train from, or "
                "a smaller --input-size"
            )
        emit(Noted(text))

    def prepare(self, data: Dataset, classes: int) -> LabelledBottlenecks:
        """Activations to bottlenecks, for the head to be trained on first."""
        self._data = data
        self._tuner = FineTuner(self._graph.trunk, self.cut, data.bottlenecks, classes)
        activations = data.bottlenecks
        return LabelledBottlenecks(
            self._tuner.bottlenecks(activations.vectors), activations.labels, activations.origins
        )

    def train(
        self,
        head: Head,
        members: dict[str, NDArray[np.int64]],
        options: TrainingOptions,
        emit: Emit,
        recorder: "EpochRecorder",
    ) -> FineTuning:
        """Train the head and the layers above the cut, from what `prepare` made ready. Raises TrainingError.

        Args:
            members: set -> numbers of its pictures.
            options: of the head.
            recorder: measures what else is wanted after each epoch.
        """

        def after_epoch(epoch: int, head: Head, weights: Sequence[Any]) -> None:
            if epoch:
                checkpoint.extra.append(recorder.measure(head, weights))

        def on_resume(history: list[EpochEnded]) -> None:
            recorder.restore(checkpoint.extra)
            emit(Noted(f"fine-tuning goes on after epoch {history[-1].epoch}, where an earlier run was stopped"))
            emit(history[-1])

        emit(StageBegan("fine-tuning"))
        together = fine_tuning_options(options, self._options.fine_tuning, len(members["train"]))
        checkpoint = self._checkpoint(head, members, together)
        session = FineTuningSession(emit, after_epoch, on_resume, checkpoint)
        tuned = self._tuner.train(head, members["train"], members["validation"], together, session)
        return FineTuning(self.cut, together, tuned, checkpoint)

    def _checkpoint(
        self, head: Head, members: dict[str, NDArray[np.int64]], options: TrainingOptions
    ) -> CheckpointFile:
        """The file of this fine-tuning, known by all that decides how it goes."""
        told = {
            "cut": self.extractor.fingerprint,
            "options": dataclasses.asdict(options),
            "augmentation": dataclasses.asdict(self._options.augmentation),
            "plots": self._options.evaluation.plots,
            "versions": [retrain.__version__, tf.__version__],
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for array in (
            *(part for layer in head.layers for part in (layer.weights, layer.biases)),
            *(self._data.keys, self._data.labels, members["train"], members["validation"]),
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        folder = find_folder(Path(self._options.extraction.cache_dir), self.extractor.name, self.extractor.fingerprint)
        return CheckpointFile(folder, digest.hexdigest())

    def bottlenecks(self, activations: VectorSource, weights: Iterable[Any]) -> NDArray[np.float32]:
        """(n, size) activations to (n, d) bottlenecks; weights: of the layers above the cut, in its order."""
        return self._tuner.bottlenecks(activations, weights)


def _amount(nbytes: int) -> str:
    gibibytes = nbytes / 2**30
    return f"{gibibytes:,.1f} GiB" if gibibytes >= 1 else f"{1024 * gibibytes:,.1f} MiB"
