"""The options of augmentation."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["AugmentationOptions"]


@dataclasses.dataclass(frozen=True)
class AugmentationOptions(Checked):
    """Distorted copies of the training pictures, and what distorts them."""

    augment: int = option(
        0,
        "train on this many distorted copies of every training picture, too; they are cached as pictures are",
        metavar="K",
    )
    flip: bool = option(False, "half of the copies, at random, are mirrored left-right")
    rotate: float = option(0, "turned by up to this, either way", metavar="DEGREES")
    shift: float = option(
        0, "moved by up to this share of width and height; what is missing at a border is reflected", metavar="PERCENT"
    )
    zoom: float = option(
        0, "enlarged by up to this, and a part of the size of the whole cut at random", metavar="PERCENT"
    )
    crop: float = option(0, "as --zoom, but all enlarged by just this: a margin to cut from", metavar="PERCENT")
    stretch: float = option(
        0, "either width or height enlarged by up to this, and cut as with --zoom", metavar="PERCENT"
    )
    brightness: float = option(0, "made brighter or darker by up to this", metavar="PERCENT")
    contrast: float = option(0, "given more or less contrast by up to this", metavar="PERCENT")
    augment_seed: int = option(0, "another one gives other copies", metavar="N")

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
                f"--augment {self.augment} makes copies, and nothing says how they differ from the pictures: "
                "add a distortion, such as --flip or --rotate 10"
            )
        changed = [*self.distortions(), *(["augment_seed"] if self.augment_seed else [])]
        if changed and not self.augment:
            raise UsageError(
                f"--{changed[0].replace('_', '-')} is for distorted copies, and there are none: "
                "say how many of each training picture, as in --augment 10"
            )

    def distortions(self) -> dict[str, float]:
        """Those that are on: {"flip": True, "rotate": 10.0}."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("augment", "augment_seed")]
        # as they are in fingerprints, where 10 and 10.0 must be the same
        values = {name: getattr(self, name) for name in names}
        return {name: bool(value) if name == "flip" else float(value) for name, value in values.items() if value}
