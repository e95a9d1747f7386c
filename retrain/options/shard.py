"""A part of the pictures, so that several machines share the work without knowing of each other."""

import hashlib
import os
import re
from dataclasses import dataclass

from retrain.errors import UsageError

__all__ = ["Shard"]


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count` parts, which together are all pictures.

    A picture belongs to the part that the hash of its path says: a hash of its content would make every part read all
    pictures, and a place in the list would move when a picture comes or goes while the parts run.
    """

    number: int  # from 1 on
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"--shard {self}: part {self.number:,} of {self.count:,}; parts are numbered from 1 on, 1/{self.count} "
                f"to {self.count}/{self.count}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The part that `3/16` names. Raises UsageError."""
        if not re.fullmatch(r"[0-9]{1,9}/[0-9]{1,9}", text):
            raise UsageError(f"--shard {text}: expected I/N, part I of N: --shard 3/16")
        number, count = map(int, text.split("/"))
        return cls(number, count)

    def has(self, path: str) -> bool:
        """Whether a picture belongs to this part, by its path as the image folder or the manifest gives it."""
        digest = hashlib.sha256(os.fsencode(path)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1
