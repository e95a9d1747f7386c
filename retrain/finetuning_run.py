"""Fine-tuning as part of a run: where the backbone is cut, what that costs, and what comes out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbone import Backbone, fingerprint_of
from retrain.config import RunOptions, TrainingOptions
from retrain.errors import CacheError
from retrain.finetuning import FineTuned, FineTuner, FineTuningRow, fine_tuning_options
from retrain.graph_cut import Cut, find_cut
from retrain.head import Head
from retrain.hooks import Hooks, nothing
from retrain.truncation import TruncatedBackbone
from retrain.vectors import LabelledBottlenecks, VectorSource

if TYPE_CHECKING:
    from retrain.export import GraphBuilder

__all__ = ["FineTunedBackbone", "FineTuning", "FineTuningPlan"]

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
        self.extractor = TruncatedBackbone(graph.backbone, graph.trunk, self.cut)

    def announce(self, pictures: int, hooks: Hooks) -> None:
        """Say how much will be cached. Raises CacheError where that is over --max-cache-size."""
        copies, most = self._options.augmentation.augment, self._options.fine_tuning.max_cache_size
        each = _FLOAT16_BYTES * self.cut.size
        total = each * pictures * (1 + copies)
        what = f"{pictures:,} pictures" + (f" and at most {copies} distorted copies of each" if copies else "")
        shape = " x ".join(map(str, self.cut.shape))
        text = f"activations below {self.cut.layers[0]}: {shape} in float16, {_amount(total)} for {what}"
        if total > most * 2**30:
            raise CacheError(
                f"{text}: more than --max-cache-size {most:g} GiB; raise it, choose a later layer to train from, or "
                "a smaller --input-size"
            )
        hooks.on_note(text)

    def prepare(self, data: LabelledBottlenecks, classes: int) -> LabelledBottlenecks:
        """Activations to bottlenecks, for the head to be trained on first."""
        self._tuner = FineTuner(self._graph.trunk, self.cut, data, classes)
        return LabelledBottlenecks(self._tuner.bottlenecks(data.vectors), data.labels, data.origins)

    def train(
        self,
        head: Head,
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        options: TrainingOptions,
        hooks: Hooks,
        on_epoch: Callable[[int, Head, Sequence[Any]], None] = nothing,
    ) -> FineTuning:
        """Train the head and the layers above the cut, from what `prepare` made ready. Raises TrainingError.

        Args:
            train, validation: numbers of pictures.
            options: of the head.
            on_epoch: called after each epoch, and before the first, with its number, the head and the weights.
        """

        def tell(row: FineTuningRow, head: Head, weights: Sequence[Any]) -> None:
            hooks.on_epoch(row)
            on_epoch(row.epoch, head, weights)

        hooks.on_stage("fine-tuning")
        together = fine_tuning_options(options, self._options.fine_tuning, len(train))
        tuned = self._tuner.train(head, train, validation, together, tell, hooks.on_fine_tuning)
        return FineTuning(self.cut, together, tuned)

    def bottlenecks(self, activations: VectorSource, weights: Iterable[Any]) -> NDArray[np.float32]:
        """(n, size) activations to (n, d) bottlenecks; weights: of the layers above the cut, in its order."""
        return self._tuner.bottlenecks(activations, weights)


def _amount(nbytes: int) -> str:
    gibibytes = nbytes / 2**30
    return f"{gibibytes:,.1f} GiB" if gibibytes >= 1 else f"{1024 * gibibytes:,.1f} MiB"
