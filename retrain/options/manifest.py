"""A manifest, which takes the place of an image folder."""

import os
from dataclasses import dataclass

__all__ = ["Manifest", "PictureSource"]


@dataclass(frozen=True)
class Manifest:
    """A file that lists pictures with their labels: .csv, .tsv, .jsonl, .ndjson or .json."""

    path: str | os.PathLike[str]
    image_root: str | os.PathLike[str] | None = None  # the folder that its paths are relative to; None: its own folder


# An image folder, or a manifest. The path of a manifest is the same as Manifest(path).
PictureSource = str | os.PathLike[str] | Manifest
