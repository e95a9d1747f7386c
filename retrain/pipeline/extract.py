"""`extract`: pass one alone, into the cache, or from there into a file for other programs."""

import os
from dataclasses import dataclass
from typing import Any

from retrain.backbones import choose_backbone
from retrain.cache import BottleneckCache
from retrain.data import SEPARATOR, LabelledPictures, assign_sets, check_counts, class_labels, read_source
from retrain.errors import UsageError
from retrain.events import Emit, ignore
from retrain.export import VectorTable, check_vector_file, write_vectors
from retrain.extraction import Dataset, Extraction, choose_extractor_for, load_dataset, open_cache, with_local_cache
from retrain.extraction import extract as extract_pictures
from retrain.options import PictureSource, RunOptions, Shard
from retrain.paths import utf8_path

__all__ = ["FolderExtraction", "extract"]


@dataclass(frozen=True)
class FolderExtraction:
    """What pass one did with a folder, where the bottlenecks are, and the file that they were written to."""

    extraction: Extraction
    cache: BottleneckCache
    output: str | None = None  # path of the file
    shard: Shard | None = None  # the part of the pictures that it was; None: all

    @property
    def written(self) -> int:
        """Vectors in the file."""
        return int(self.extraction.readable.sum()) if self.output is not None else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        output = None
        if self.output is not None:
            output = {"path": utf8_path(self.output), "vectors": self.written, "length": self.cache.bottleneck_size}
        figures = self.extraction.figures() | self.extraction.losses()
        shard = None if self.shard is None else str(self.shard)
        return {"backbone": self.cache.name, "shard": shard} | figures | {"output": output}


def extract(
    image_dir: PictureSource,
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
    output: str | os.PathLike[str] | None = None,
    shard: Shard | None = None,
) -> FolderExtraction:
    """Put the bottleneck of every picture of a folder into the cache, and if wanted into a file, too.

    Args:
        image_dir: one sub-folder of pictures per class, or a manifest.
        options: those of the backbone, of extraction and of images count; for the file, those of labels and split, too.
        emit: called with events; see `retrain.events`.
        output: a file of paths, labels, sets, keys and vectors: .npz, .parquet or .h5. What was there is replaced.
        shard: the part of the pictures to put into the cache; other runs do the others. By default, all of them.
    Raises RetrainError.
    """
    if output is not None:
        if shard is not None:
            raise UsageError(
                f"--shard {shard} with --output: the file has the vectors of all pictures; leave --output out "
                "until all parts are in the cache, then --shard"
            )
        check_vector_file(output)
    options = with_local_cache(options)
    folder = read_source(image_dir, [options.extraction.cache_dir], emit, multi_label=options.labels.multi_label)
    labels = _labels(folder, options, emit) if output is not None else ()
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)  # of all pictures: the same in every part
    if shard is not None:
        folder = folder.shard(shard)
    if output is None:
        cache = open_cache(extractor, options.extraction)
        return FolderExtraction(extract_pictures(folder, extractor, cache, options, emit), cache, shard=shard)
    data = load_dataset(folder, extractor, options, emit)
    write_vectors(output, _table(data, labels, options), emit)
    return FolderExtraction(data.extraction, data.cached.cache, os.fspath(output))


def _labels(folder: LabelledPictures, options: RunOptions, emit: Emit) -> tuple[str, ...]:
    """The labels of the classes; checks, as far as can be known now, that the pictures can be split.

    Raises ImageFolderError, LabelsFileError.
    """
    if not folder.has_subsets:
        check_counts(dict(zip(folder.class_names, folder.counts(), strict=True)), options.split)
    return class_labels(folder.class_names, options.labels.labels_file, emit=emit)


def _table(data: Dataset, labels: tuple[str, ...], options: RunOptions) -> VectorTable:
    """What the file holds. Raises ImageFolderError if a class has too few different pictures for the split."""
    cache = data.cached.cache
    return VectorTable(
        [utf8_path(sample.path) for sample in data.samples],
        [SEPARATOR.join(labels[label] for label in sample.classes) for sample in data.samples],
        assign_sets(data.samples, data.keys, options.split, data.folder.spelling),
        data.keys,
        data.cached,
        cache.name,
        cache.fingerprint,
    )
