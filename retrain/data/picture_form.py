"""The form in which a network sees pictures: size, how others are fitted into it, and what becomes of deep pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from retrain.options import BackboneOptions

__all__ = ["BACKGROUND", "Margins", "PictureForm", "shown_form", "unusual"]

# Levels of red, green and blue beside a padded picture: the middle of their range, which most networks see as about 0.
BACKGROUND = 128


@dataclass(frozen=True)
class Margins:
    """How many pixels lie outside, on each of two sides: what is cut off at the left is cut off at the right, too."""

    rows: Any  # at the top, and as many at the bottom: a whole number, or a tensor of one
    columns: Any  # at the left, and as many at the right


_NONE = Margins(0, 0)

Maximum = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class PictureForm:
    """What a picture file becomes: pixels at one size, of 8 bits.

    How a picture of h x w pixels, upright, fits into H x W is exact, in whole numbers, // rounding down:

    * squash: the whole picture is resized to H x W, whatever its proportions.
    * crop: its largest central part with the proportions H : W is resized to H x W. A picture that is too wide,
      w H > h W, loses (w H - h W) // (2 H) columns of pixels on each side; any other loses (h W - w H) // (2 W) rows at
      the top and as many at the bottom.
    * pad: the whole picture is resized as far as it fits, and lies in the middle of a grey background. Beside a picture
      that is too wide, the result has (w H - h W) // (2 w) rows of BACKGROUND at the top and as many at the bottom;
      beside any other, (h W - w H) // (2 h) columns on each side.

    Opposite sides are treated alike, so a picture that is stored on its side gives the same when it is turned before or
    after. The rule holds for what was decoded: of a JPEG that is decoded at 1/2, 1/4 or 1/8, for that.
    """

    height: int  # H, pixels
    width: int  # W
    fit: str = BackboneOptions.fit
    depth: str = BackboneOptions.depth  # how pixels of more than 8 bits become 8; `deep_pixels` has the rules

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.height, self.width

    @property
    def turned(self) -> "PictureForm":
        """The form of a picture that is stored on its side."""
        return replace(self, height=self.width, width=self.height)

    def whole(self, height: int, width: int) -> "PictureForm":
        """What shows a whole picture at another size, in the same levels."""
        return PictureForm(height, width, depth=self.depth)

    def enlarged(self, factor: float) -> "PictureForm":
        """The same form at another size, in whole pixels, at least one."""
        return replace(self, height=max(1, round(self.height * factor)), width=max(1, round(self.width * factor)))

    def cut(self, height: Any, width: Any, maximum: Maximum = max) -> Margins:
        """What a picture loses before it is resized, in its own pixels.

        Args:
            height, width: of the picture, upright; whole numbers, or tensors of one.
            maximum: of two of them.
        """
        if self.fit != "crop":
            return _NONE
        too_wide = width * self.height - height * self.width
        return Margins(maximum(-too_wide, 0) // (2 * self.width), maximum(too_wide, 0) // (2 * self.height))

    def border(self, height: Any, width: Any, maximum: Maximum = max) -> Margins:
        """What a picture gets around it after it was resized, in pixels of the result. Arguments as for `cut`."""
        if self.fit != "pad":
            return _NONE
        too_wide = width * self.height - height * self.width
        return Margins(maximum(too_wide, 0) // (2 * width), maximum(-too_wide, 0) // (2 * height))


def shown_form(description: Mapping[str, Any]) -> str:
    """What of a form is not the default, by an extractor's description, for people: ", --fit pad"."""
    return "".join(f", --{name} {description[name]}" for name in ("fit", "depth") if name in description)


def unusual(form: Any) -> dict[str, Any]:
    """What of a form, or of anything with its fields, is not the default. Extractors are described with it."""
    given = {name: getattr(form, name) for name in ("fit", "depth")}
    return {name: value for name, value in given.items() if value != getattr(PictureForm, name)}
