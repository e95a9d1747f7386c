"""A backbone that counts its pictures, and pass one with it."""

import json

import numpy as np

from retrain.cache import BottleneckCache
from retrain.data.image_folder import read_image_folder
from retrain.data.picture_form import PictureForm
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ExtractionOptions, RunOptions


class CountingBackbone:
    """Means of eighths of a 16 x 16 picture; says how many pictures it was given."""

    name = "counting"
    fingerprint = "c0" * 32
    form = PictureForm(16, 16)
    height = width = 16
    batch_size = 32

    def __init__(self):
        self.description = {"weights": "none"}
        self.count = 0
        self.loaded = False

    @property
    def network(self):
        self.loaded = True
        return self

    def bottlenecks(self, pixels):
        self.count += len(pixels)
        return pixels.reshape(len(pixels), 8, -1).mean(axis=2).astype(np.float32)


def run(root, **options):
    """One pass over a folder: the result, and the backbone."""
    backbone = CountingBackbone()
    settings = ExtractionOptions(**options)
    cache = open_cache(backbone, settings)
    result = extract_bottlenecks(read_image_folder(root), backbone, cache, RunOptions(extraction=settings))
    found = cache.find(result.keys[result.readable])
    assert (found >= 0).all()
    return result, backbone, cache.read(found)


def rows_of(cache_dir, name=CountingBackbone.name):
    """(key, vector) of every row, as bytes. All files must be sound."""
    [folder] = cache_dir.glob(f"{name}-*")
    fingerprint = json.loads((folder / "extractor.json").read_text())["fingerprint"]
    cache = BottleneckCache(cache_dir, name, fingerprint, {}, folder)
    assert not cache.warnings
    keys = np.concatenate([segment.keys for segment in cache.segments])
    return {key.tobytes(): vector.tobytes() for key, vector in zip(keys, cache.read(cache.find(keys)), strict=True)}
