"""`extract`: pass one alone."""

import os
from dataclasses import dataclass
from typing import Any

from retrain.backbones import choose_backbone
from retrain.cache import BottleneckCache
from retrain.data import read_image_folder
from retrain.events import Emit, ignore
from retrain.extraction import Extraction, choose_extractor_for, open_cache
from retrain.extraction import extract as extract_pictures
from retrain.options import RunOptions

__all__ = ["FolderExtraction", "extract"]


@dataclass(frozen=True)
class FolderExtraction:
    """What pass one did with a folder, and where the bottlenecks are."""

    extraction: Extraction
    cache: BottleneckCache

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"backbone": self.cache.name} | self.extraction.figures() | self.extraction.losses()


def extract(
    image_dir: str | os.PathLike[str], options: RunOptions = RunOptions(), emit: Emit = ignore
) -> FolderExtraction:
    """Put the bottleneck of every picture of a folder into the cache.

    Args:
        image_dir: one sub-folder of pictures per class.
        options: those of the backbone, of extraction and of images count.
        emit: called with events; see `retrain.events`.
    Raises RetrainError.
    """
    folder = read_image_folder(image_dir, [options.extraction.cache_dir], emit)
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)
    cache = open_cache(extractor, options.extraction)
    return FolderExtraction(extract_pictures(folder, extractor, cache, options, emit), cache)
