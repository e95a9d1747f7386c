"""The form in which a network sees pictures."""

from dataclasses import dataclass, replace

__all__ = ["PictureForm"]


@dataclass(frozen=True)
class PictureForm:
    """What a picture file becomes: pixels at one size."""

    height: int  # pixels
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.height, self.width

    def enlarged(self, factor: float) -> "PictureForm":
        """The same form at another size, in whole pixels, at least one."""
        return replace(self, height=max(1, round(self.height * factor)), width=max(1, round(self.width * factor)))
