"""What the stages of a training give to the stages after them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Backbone, Extractor
from retrain.cache import LabelledBottlenecks, VectorSource
from retrain.data import LabelledPictures
from retrain.evaluation import AnyMetrics, PictureResult
from retrain.events import Emit
from retrain.extraction import Augmentation, Dataset
from retrain.options import RunOptions, TrainingOptions
from retrain.report import JudgedLabels, JudgedPictures
from retrain.training import Calibration, CurvePoint, RejectionFit

if TYPE_CHECKING:
    from retrain.export import ExportSource
    from retrain.training import FineTunedBackbone, FineTuning, FineTuningPlan, TrainedHead

__all__ = ["HeadStage", "Network", "Split", "Start", "Test"]


@dataclass(frozen=True)
class Start:
    """What is known before a picture is read."""

    folder: LabelledPictures
    labels: tuple[str, ...]
    strangers: LabelledPictures | None  # pictures of no class
    graph: "ExportSource"
    options: RunOptions  # with the backbone filled in
    emit: Emit


@dataclass(frozen=True)
class Split:
    """Pictures with bottlenecks, in their sets."""

    data: Dataset  # of activations inside the backbone, if that is to be fine-tuned
    sets: list[str]  # (n,) the set of each picture
    members: dict[str, NDArray[np.int64]]  # set -> numbers of its pictures
    extractor: Extractor
    bottlenecks: LabelledBottlenecks  # of the pictures and their copies
    seconds: float
    augmentation: Augmentation | None
    plan: "FineTuningPlan | None"
    strangers: VectorSource | None  # (n, ...) bottlenecks, or activations, of pictures of no class


@dataclass(frozen=True)
class HeadStage:
    """A head, trained on the frozen backbone."""

    trained: "TrainedHead"
    options: TrainingOptions  # with every default filled in
    curve: list[CurvePoint]  # if it was asked for
    seconds: float


@dataclass(frozen=True)
class Network:
    """The head on its backbone, after fine-tuning if that was asked for."""

    trained: "TrainedHead"
    graph: "ExportSource"
    backbone: "Backbone | FineTunedBackbone"  # what the model is known by
    vectors: VectorSource  # (n, d) bottlenecks of the pictures
    strangers: VectorSource | None  # (n, d) those of pictures of no class
    curve: list[CurvePoint]
    fine_tuning: "FineTuning | None" = None
    seconds: float | None = None  # of fine-tuning


@dataclass(frozen=True)
class Test:
    """What the finished network says of all pictures."""

    trained: "TrainedHead"  # calibrated, and able to reject, if that was asked for
    calibration: Calibration | None
    rejection: RejectionFit | None
    metrics: dict[str, AnyMetrics]  # set -> metrics
    pictures: tuple[PictureResult, ...]
    tested: frozenset[str]  # paths of the test pictures that the metrics are of
    judged: JudgedPictures | JudgedLabels
    seconds: float
