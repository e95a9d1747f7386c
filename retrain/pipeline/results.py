"""What the commands find out: values that the library returns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Backbone, Extractor
from retrain.data import LeftOut, ManifestFile
from retrain.evaluation import Metrics, Outcomes, PictureResult, is_imbalanced
from retrain.extraction import Augmentation, Dataset, Extraction
from retrain.options import RunOptions
from retrain.paths import utf8_path
from retrain.report import JudgedPictures
from retrain.training import Calibration, CurvePoint

if TYPE_CHECKING:
    from retrain.export import ExportSource
    from retrain.pipeline.export import Exports
    from retrain.training import FineTunedBackbone, FineTuning, TrainedHead, Tuning

__all__ = ["FolderEvaluation", "RunResult", "TrainedModel", "WrittenModel", "results_of_pictures"]


@dataclass(frozen=True)
class RunResult:
    """What a training run did, as run.json records it."""

    labels: tuple[str, ...]
    split: dict[str, int]  # set -> pictures
    metrics: dict[str, Metrics]  # set -> metrics
    pictures: tuple[PictureResult, ...]
    skipped: dict[str, str]  # path -> reason
    timings: Mapping[str, float]  # seconds of each stage, up to evaluation
    extraction: dict[str, Any]  # as `retrain extract --json`
    tested: frozenset[str]  # paths of the test pictures that the metrics are of
    calibration: Calibration | None = None  # if asked for; the metrics are of the calibrated head
    tuning: "Tuning | None" = None  # if asked for
    augmentation: Augmentation | None = None  # if asked for
    fine_tuning: "FineTuning | None" = None  # if asked for; the metrics are of the model after it
    class_folders: tuple[str, ...] = ()  # names of the folders, in the order of the labels
    curve: list[CurvePoint] = field(default_factory=list)  # if plots were asked for; before any calibration
    left_out: LeftOut = field(default_factory=LeftOut)  # summary of what was skipped
    manifest: ManifestFile | None = None  # that lists the pictures

    @property
    def is_imbalanced(self) -> bool:
        """Whether the largest class has over three times the pictures of the smallest."""
        return is_imbalanced(Counter(picture.label for picture in self.pictures).values())

    def misclassified(self) -> list[PictureResult]:
        """The tested pictures with a wrong label, the most confident mistake first."""
        wrong = [p for p in self.pictures if p.path in self.tested and p.predicted != p.label]
        return sorted(wrong, key=lambda picture: -picture.score)


@dataclass(frozen=True)
class FolderEvaluation:
    """How a trained model does on a folder."""

    metrics: Metrics  # of all pictures
    held_out: Metrics  # of those it was not trained on: only these say how it will do on new ones
    pictures: tuple[PictureResult, ...]
    extraction: Extraction

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        predictions = [asdict(picture) | {"path": utf8_path(picture.path)} for picture in self.pictures]
        return (
            self.metrics.as_dict()
            | {"held_out": self.held_out.as_dict(), "predictions": predictions}
            | self.extraction.losses()
        )


@dataclass(frozen=True)
class TrainedModel:
    """A head, its backbone and the results, not yet written to disk."""

    image_dir: str  # that the paths are relative to, as the user gave it
    options: RunOptions  # with every default filled in
    backbone: "Backbone | FineTunedBackbone"  # in float32, as it is in the graph
    extractor: Extractor  # what computed the bottlenecks: the backbone, or its form in fewer bits
    graph: "ExportSource"
    trained: "TrainedHead"
    result: RunResult
    judged: JudgedPictures


@dataclass(frozen=True)
class WrittenModel(TrainedModel):
    """A trained model, written into its folder."""

    model_dir: str
    record: dict[str, Any]  # what run.json holds
    exports: "Exports | None" = None  # if asked for


def results_of_pictures(
    data: Dataset, sets: Sequence[str], labels: NDArray[np.int32], outcomes: Outcomes, names: Sequence[str]
) -> tuple[PictureResult, ...]:
    """Pair every picture with what the model says of it.

    Args:
        sets: (n,) the set of each picture.
        labels: (n,) numbers of the true labels.
        names: the labels.
    """
    rows = zip(data.samples, sets, labels, outcomes.given, outcomes.top_scores, data.hex_keys(), strict=True)
    return tuple(
        PictureResult(sample.path, set_, names[label], names[given], float(score), key)
        for sample, set_, label, given, score, key in rows
    )
