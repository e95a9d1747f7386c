"""The stage of a training that continues with layers of the backbone."""

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrain.cache import LabelledBottlenecks
from retrain.model import Head
from retrain.pipeline.stages import HeadStage, Network, Split, Start
from retrain.training import CurvePoint, figures_of

if TYPE_CHECKING:
    from retrain.training import FineTuningPlan

__all__ = ["fine_tune"]


def fine_tune(start: Start, split: Split, head: HeadStage, plan: "FineTuningPlan") -> Network:
    """Train the head and the layers above the cut together; the curve continues with the ends of epochs."""
    from retrain.training import FineTunedBackbone

    began = time.monotonic()
    steps = math.ceil(len(split.members["train"]) / start.options.fine_tuning.fine_tune_batch_size)
    recorder = _EpochCurve(plan, split, steps, head.curve[-1] if head.curve else None)
    done = plan.train(head.trained.head, split.members, head.options, start.emit, recorder)
    weights = done.tuned.weights
    graph = start.graph.with_weights(weights)
    return Network(
        dataclasses.replace(head.trained, head=done.tuned.head),
        graph,
        FineTunedBackbone(start.graph.backbone, graph.trunk.digest),
        plan.bottlenecks(split.data.vectors, weights.values()),
        None if split.strangers is None else plan.bottlenecks(split.strangers, weights.values()),
        head.curve + recorder.points[: done.tuned.best_epoch],  # it ends with what was kept
        done,
        time.monotonic() - began,
    )


@dataclass(frozen=True)
class _EpochCurve:
    """Adds a point to the curve, if there is one, at the end of every epoch of fine-tuning."""

    plan: "FineTuningPlan"
    split: Split
    steps: int  # of an epoch
    last: CurvePoint | None  # of the training of the head
    points: list[CurvePoint] = field(default_factory=list)

    def measure(self, head: Head, weights: Sequence[Any]) -> dict[str, Any] | None:
        """Add the point, and return it."""
        last = self.points[-1] if self.points else self.last
        if last is None:
            return None
        data = self.split.data
        vectors = self.plan.bottlenecks(data.vectors, weights)
        shown = LabelledBottlenecks(vectors, data.labels, label_sets=data.label_sets)
        figures = figures_of(head, shown, self.split.members)
        self.points.append(CurvePoint(last.step + self.steps, last.epoch + 1, figures))
        return dataclasses.asdict(self.points[-1])

    def restore(self, kept: Sequence[dict[str, Any] | None]) -> None:
        """Add the points of epochs that an earlier run finished."""
        for point in filter(None, kept):
            figures = {name: tuple(values) for name, values in point["figures"].items()}  # JSON has lists
            self.points.append(CurvePoint(point["step"], point["epoch"], figures))
