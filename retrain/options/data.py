"""The options of the pictures, their labels and their split."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["DEFAULT_MAX_FILE_SIZE", "DEFAULT_MAX_PIXELS", "ImageOptions", "LabelOptions", "SplitOptions"]

# Pillow's own bound. Decoding may take 12 bytes for each, so 2 GiB.
DEFAULT_MAX_PIXELS = 178_956_970

DEFAULT_MAX_FILE_SIZE = 1024  # MiB: that many pixels of 3 x 16 bits


@dataclasses.dataclass(frozen=True)
class ImageOptions(Checked):
    """How picture files are decoded."""

    max_pixels: int = option(
        DEFAULT_MAX_PIXELS,
        "skip pictures with more pixels than this, without decoding them; decoding takes up to 12 bytes per pixel",
        metavar="N",
    )
    max_file_size: int = option(
        DEFAULT_MAX_FILE_SIZE, "skip picture files larger than this, without reading them", metavar="MIB"
    )

    RANGES: ClassVar = {"max_pixels": (1, None), "max_file_size": (1, None)}


@dataclasses.dataclass(frozen=True)
class LabelOptions(Checked):
    """What the classes are called."""

    labels_file: str | None = option(
        None,
        "file with the labels of class folders: a folder and its label on each line, separated by a tab, a comma, a "
        "semicolon or spaces, or a JSON object (.json); the label of other folders is their name",
        metavar="FILE",
        common=True,
    )
    multi_label: bool = option(
        False,
        "a picture may have several labels, or none: those of all class folders that it is in, or in a manifest "
        "rose|leaf; each label gets a score of its own",
        common=True,
    )


@dataclasses.dataclass(frozen=True)
class SplitOptions(Checked):
    """How pictures are assigned to training, validation and test set."""

    validation_percentage: float = option(10, "share of the pictures for validation", metavar="PERCENT", common=True)
    test_percentage: float = option(10, "share of the pictures for the final test", metavar="PERCENT", common=True)
    split: str = option(
        "content",
        "what decides a picture's set: its content, or (original) its path, as in the original program",
        choices=("content", "original"),
    )
    train_per_class: int | None = option(
        None, "pictures of each class for training, instead of a share; the rest go to the test set", metavar="N"
    )
    validation_per_class: int | None = option(
        None, "pictures of each class for validation, instead of a share", metavar="N"
    )
    test_per_class: int | None = option(
        None, "pictures of each class for the final test, instead of a share", metavar="N"
    )

    RANGES: ClassVar = {
        "validation_percentage": (0, 90),
        "test_percentage": (0, 90),
        "train_per_class": (1, 2**31 - 1),
        "validation_per_class": (0, 2**31 - 1),
        "test_per_class": (0, 2**31 - 1),
    }

    @property
    def has_counts(self) -> bool:
        """Whether a set gets a number of pictures of each class, instead of a share."""
        counts = (self.train_per_class, self.validation_per_class, self.test_per_class)
        return any(count is not None for count in counts)

    def wants(self, name: str) -> bool:
        """Whether a set ("train", "validation" or "test") should have pictures."""
        if name == "train" or (name == "test" and self.train_per_class):
            return True
        count: int | None = getattr(self, f"{name}_per_class")
        return bool(getattr(self, f"{name}_percentage") if count is None else count)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.has_counts:
            self._check_counts()
        elif self.validation_percentage + self.test_percentage > 95:
            raise UsageError(
                f"--validation-percentage {self.validation_percentage:g} and --test-percentage "
                f"{self.test_percentage:g} leave less than 5% for training: lower one of them"
            )

    def _check_counts(self) -> None:
        """Refuse options that numbers of pictures can't be combined with. Raises UsageError."""
        if self.split == "original":
            raise UsageError(
                "--split original assigns each picture by its path alone, whatever the numbers: leave it out, or leave "
                "out --train-per-class, --validation-per-class and --test-per-class"
            )
        if self.train_per_class is not None and self.test_per_class is not None:
            raise UsageError(
                "--train-per-class and --test-per-class leave no set for the other pictures: leave one of them out"
            )
        for name, counted in (
            ("validation", "validation" if self.validation_per_class is not None else None),
            ("test", "train" if self.train_per_class is not None else self.test_per_class is not None and "test"),
        ):
            share = getattr(self, f"{name}_percentage")
            if counted and share != getattr(SplitOptions, f"{name}_percentage"):
                raise UsageError(
                    f"--{name}-percentage {share:g} has no effect with --{counted}-per-class: leave one of them out"
                )
