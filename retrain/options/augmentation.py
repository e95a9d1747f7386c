"""The options of augmentation."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, flag_of, option

__all__ = ["AugmentationOptions"]


@dataclasses.dataclass(frozen=True)
class AugmentationOptions(Checked):
    """Distorted copies of the training pictures, and how they are distorted."""

    augment: int = option(
        0,
        "also train on K distorted copies of each training picture; copies are cached like pictures",
        metavar="K",
        common=True,
    )
    flip: bool = option(False, "mirror half of the copies left to right, chosen at random", common=True)
    rotate: float = option(0, "rotate copies by up to this angle, in either direction", metavar="DEGREES", common=True)
    shift: float = option(
        0, "move copies by up to this share of width and height; borders are filled by reflection", metavar="PERCENT"
    )
    zoom: float = option(
        0,
        "enlarge copies by up to this, and cut out a window of the original size at a random place",
        metavar="PERCENT",
    )
    crop: float = option(0, "like --zoom, but enlarge every copy by exactly this", metavar="PERCENT")
    stretch: float = option(
        0, "enlarge either width or height by up to this, and cut as with --zoom", metavar="PERCENT"
    )
    brightness: float = option(0, "make copies brighter or darker by up to this", metavar="PERCENT")
    contrast: float = option(0, "raise or lower the contrast of copies by up to this", metavar="PERCENT")
    augment_seed: int = option(0, "random seed of the distortions", metavar="N")

    RANGES: ClassVar = {
        "augment": (0, 1000),
        "rotate": (0, 180),
        "shift": (0, 100),
        "zoom": (0, 300),
        "crop": (0, 300),
        "stretch": (0, 300),
        "brightness": (0, 100),
        "contrast": (0, 100),
        "augment_seed": (0, 2**31 - 1),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augment and not self.distortions():
            raise UsageError(
                f"--augment {self.augment} makes copies, but nothing says how to distort them: add a distortion, such "
                "as --flip or --rotate 10"
            )
        changed = [*self.distortions(), *(["augment_seed"] if self.augment_seed else [])]
        if changed and not self.augment:
            raise UsageError(
                f"{flag_of(changed[0])} is for distorted copies, and there are none: say how many to make of each "
                "training picture, as in --augment 10"
            )

    def distortions(self) -> dict[str, float]:
        """The distortions that are on: {"flip": True, "rotate": 10.0}."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("augment", "augment_seed")]
        # fingerprints are made of these, and 10 and 10.0 must be the same there
        values = {name: getattr(self, name) for name in names}
        return {name: bool(value) if name == "flip" else float(value) for name, value in values.items() if value}
