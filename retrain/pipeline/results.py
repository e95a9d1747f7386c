"""What the commands find out: values that the library returns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Backbone, Extractor
from retrain.data import SEPARATOR, LeftOut, ManifestFile
from retrain.evaluation import (
    AnyMetrics,
    AnyOutcomes,
    LabelOutcomes,
    MultiLabelMetrics,
    PictureResult,
    is_imbalanced,
)
from retrain.extraction import Augmentation, Dataset, Extraction
from retrain.options import RunOptions
from retrain.paths import utf8_path
from retrain.report import JudgedLabels, JudgedPictures
from retrain.training import Calibration, CurvePoint, RejectionFit, StrangerFigures

if TYPE_CHECKING:
    from retrain.export import ExportSource
    from retrain.pipeline.export import Exports
    from retrain.training import FineTunedBackbone, FineTuning, TrainedHead, Tuning

__all__ = ["FolderEvaluation", "Refused", "RunResult", "TrainedModel", "WrittenModel", "results_of_pictures"]


@dataclass(frozen=True)
class RunResult:
    """What a training run did, as run.json records it."""

    labels: tuple[str, ...]
    split: dict[str, int]  # set -> pictures
    metrics: dict[str, AnyMetrics]  # set -> metrics
    pictures: tuple[PictureResult, ...]
    skipped: dict[str, str]  # path -> reason
    timings: Mapping[str, float]  # seconds of each stage, up to evaluation
    extraction: dict[str, Any]  # as `retrain extract --json`
    tested: frozenset[str]  # paths of the test pictures that the metrics are of
    calibration: Calibration | None = None  # if asked for; the metrics are of the calibrated head
    rejection: RejectionFit | None = None  # if asked for
    tuning: "Tuning | None" = None  # if asked for
    augmentation: Augmentation | None = None  # if asked for
    fine_tuning: "FineTuning | None" = None  # if asked for; the metrics are of the model after it
    class_folders: tuple[str, ...] = ()  # names of the folders, in the order of the labels
    curve: list[CurvePoint] = field(default_factory=list)  # if plots were asked for; before any calibration
    left_out: LeftOut = field(default_factory=LeftOut)  # summary of what was skipped
    manifest: ManifestFile | None = None  # that lists the pictures

    @property
    def is_multi_label(self) -> bool:
        """Whether a picture may have several labels."""
        return any(isinstance(found, MultiLabelMetrics) for found in self.metrics.values())

    @property
    def is_imbalanced(self) -> bool:
        """Whether the largest class has over three times the pictures of the smallest."""
        return is_imbalanced(Counter(picture.label for picture in self.pictures).values())

    def misclassified(self) -> list[PictureResult]:
        """The tested pictures with a wrong label, or wrong labels, the most confident mistake first."""
        wrong = [p for p in self.pictures if p.path in self.tested and p.predicted != p.label]
        return sorted(wrong, key=lambda picture: -picture.score)


@dataclass(frozen=True)
class Refused:
    """Pictures of a folder that a model takes for none of its classes. The other figures count them like all others."""

    n: int  # of classes
    refused: int
    held_out_n: int  # those of them that it was not trained on
    held_out_refused: int
    strangers: StrangerFigures | None = None  # if the folder has pictures of no class

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class FolderEvaluation:
    """How a trained model does on a folder."""

    metrics: AnyMetrics  # of all pictures
    held_out: AnyMetrics  # of those it was not trained on: only these say how it will do on new ones
    pictures: tuple[PictureResult, ...]
    extraction: Extraction
    rejection: "Refused | None" = None  # of a model that tells pictures of no class

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        predictions = [asdict(picture) | {"path": utf8_path(picture.path)} for picture in self.pictures]
        return (
            self.metrics.as_dict()
            | {"held_out": self.held_out.as_dict(), "predictions": predictions}
            | ({} if self.rejection is None else {"rejection": self.rejection.as_dict()})
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
    judged: JudgedPictures | JudgedLabels


@dataclass(frozen=True)
class WrittenModel(TrainedModel):
    """A trained model, written into its folder."""

    model_dir: str
    record: dict[str, Any]  # what run.json holds
    exports: "Exports | None" = None  # if asked for


def results_of_pictures(
    data: Dataset, sets: Sequence[str], labels: NDArray[np.int32], outcomes: AnyOutcomes, names: Sequence[str]
) -> tuple[PictureResult, ...]:
    """Pair every picture with what the model says of it.

    Args:
        sets: (n,) the set of each picture.
        labels: (n,) numbers of the true labels.
        names: the labels.
    """
    if isinstance(outcomes, LabelOutcomes):
        texts = (_texts(outcomes.has, names), _texts(outcomes.given, names))
        scores = outcomes.certainties
    else:
        texts = ([names[label] for label in labels], [names[given] for given in outcomes.given])
        scores = outcomes.top_scores
    rows = zip(data.samples, sets, *texts, scores.tolist(), data.hex_keys(), strict=True)
    return tuple(PictureResult(sample.path, *rest) for sample, *rest in rows)


def _texts(flags: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """The labels of each of (n, classes) flags as a text: rose|leaf."""
    return [SEPARATOR.join(names[label] for label in np.flatnonzero(row).tolist()) for row in flags]
