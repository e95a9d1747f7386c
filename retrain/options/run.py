"""The options of a training run, all stages together."""

import dataclasses
import re
from typing import Any

from retrain.errors import UsageError
from retrain.options.augmentation import AugmentationOptions
from retrain.options.cluster import ClusterOptions
from retrain.options.data import ImageOptions, LabelOptions, SplitOptions
from retrain.options.evaluation import EvaluationOptions
from retrain.options.export import parse_formats
from retrain.options.extraction import BackboneOptions, ExtractionOptions
from retrain.options.fields import option
from retrain.options.fine_tuning import FineTuningOptions
from retrain.options.report import ReportOptions
from retrain.options.training import TrainingOptions
from retrain.options.tuning import TuningOptions

__all__ = ["RunOptions"]

# Names that exported graphs use already, in lower case.
_GRAPH_NAMES = frozenset(
    {
        *("any_size", "backbone", "bottleneck", "cast", "decode", "decodejpeg", "expanddims", "head", "input"),
        *("labels", "mul", "placeholder", "resize", "thresholds", "unit_range"),
    }
)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """All options of a training run, by stage."""

    backbone: BackboneOptions = dataclasses.field(default=BackboneOptions())
    images: ImageOptions = dataclasses.field(default=ImageOptions())
    labels: LabelOptions = dataclasses.field(default=LabelOptions())
    extraction: ExtractionOptions = dataclasses.field(default=ExtractionOptions())
    cluster: ClusterOptions = dataclasses.field(default=ClusterOptions())
    split: SplitOptions = dataclasses.field(default=SplitOptions())
    augmentation: AugmentationOptions = dataclasses.field(default=AugmentationOptions())
    tuning: TuningOptions = dataclasses.field(default=TuningOptions())
    training: TrainingOptions = dataclasses.field(default=TrainingOptions())
    fine_tuning: FineTuningOptions = dataclasses.field(default=FineTuningOptions())
    evaluation: EvaluationOptions = dataclasses.field(default=EvaluationOptions())
    report: ReportOptions = dataclasses.field(default=ReportOptions())
    export: str | None = option(
        None,
        "also export the model, in one format or several separated by commas, as retrain export does",
        metavar="FORMAT",
        common=True,
    )
    final_tensor_name: str = option("final_result", "name of the scores in the exported graph", metavar="NAME")

    def __post_init__(self) -> None:
        name = self.final_tensor_name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", name):
            raise UsageError(f"--final-tensor-name {name!r}: use letters, digits and _ only, as in final_result")
        if name.lower() in _GRAPH_NAMES or (self.evaluation.reject is not None and name.lower() == "known"):
            raise UsageError(f"--final-tensor-name {name}: the graph has another tensor of that name; choose another")
        _ = self.export_formats
        if self.labels.multi_label:
            self._check_multi_label()
        if self.fine_tuning.is_wanted and self.backbone.precision != "float32":
            raise UsageError(
                f"--precision {self.backbone.precision} with fine-tuning: layers can be trained in float32 only; leave "
                "--precision out"
            )

    def _check_multi_label(self) -> None:
        """Refuse what is for pictures with one label each. Raises UsageError."""
        if self.split.has_counts:
            raise UsageError(
                "--multi-label with --train-per-class, --validation-per-class or --test-per-class: a picture would "
                "count in several classes; leave them out, and give --validation-percentage or --test-percentage"
            )
        if self.evaluation.reject is not None:
            raise UsageError(
                "--multi-label with --reject: where a picture can have several labels, one without any is of none of "
                "them; leave --reject out"
            )
        if self.training.sampling == "class-balanced":
            raise UsageError(
                "--multi-label with --sampling class-balanced: a picture would be drawn for one of its labels and "
                "count for all; leave it out, or give --class-weight balanced, which makes up for rare labels"
            )

    def settled(self) -> "RunOptions":
        """The same, with the default of --sampling that --multi-label has: any picture."""
        if not self.labels.multi_label:
            return self
        return dataclasses.replace(self, training=dataclasses.replace(self.training, sampling="uniform"))

    @property
    def export_formats(self) -> tuple[str, ...]:
        """The formats to export the model in. Raises UsageError if one is unknown."""
        return () if self.export is None else parse_formats(self.export, "--export")

    def as_dict(self) -> dict[str, Any]:
        """All options by name, without their stages: {"steps": 4000, ...}."""
        flat: dict[str, Any] = {}
        for stage in dataclasses.fields(self):
            value = getattr(self, stage.name)
            if dataclasses.is_dataclass(value):
                flat.update(dataclasses.asdict(value))  # type: ignore[arg-type]
            else:
                flat[stage.name] = value
        return flat
