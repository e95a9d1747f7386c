"""One run from folder to model: the stages in their order, and their timings."""

import contextlib
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbone import Backbone, locate_backbone
from retrain.benchmark import MachineBenchmark, benchmark_machine, draw_pictures
from retrain.bottleneck_cache import BottleneckCache
from retrain.config import ExtractionOptions, ImageOptions, RunOptions, SplitOptions
from retrain.errors import ImageFolderError, ModelFolderError
from retrain.evaluation import evaluate_logits, softmax
from retrain.extraction import Extraction, ExtractionProgress, Extractor, extract_bottlenecks, open_cache
from retrain.head import Head
from retrain.image_folder import SUBSETS, ImageFolder, display_path, read_image_folder
from retrain.model_folder import check_destination, read_sets, write_model_folder
from retrain.precision import Listener, choose_extractor
from retrain.record import FolderEvaluation, PictureResult, RunResult, TrainedModel, extraction_summary, write_files
from retrain.split import SETS, assign_sets, check_class_sizes

if TYPE_CHECKING:
    from retrain.classifier import Classifier
    from retrain.export import GraphBuilder
    from retrain.training import HistoryRow

__all__ = [
    "FEW_PICTURES",
    "Hooks",
    "benchmark",
    "evaluate_folder",
    "extract_folder",
    "train",
    "train_model",
]

logger = logging.getLogger(__name__)

FEW_PICTURES = 20  # a class with fewer gets a warning, as in the original program


def _nothing(*_: Any) -> None:
    """A hook that does nothing."""


@dataclass(frozen=True)
class Hooks:
    """What a run calls as it goes on; all are optional."""

    on_stage: Callable[[str], None] = _nothing  # a stage begins
    on_warning: Callable[[str], None] = _nothing  # something that the user should know
    on_note: Callable[[str], None] = _nothing  # something that the user may like to know
    on_preparation: Callable[[str, int, int], None] = _nothing  # what is done before pass one, how many, of how many
    on_extraction: Callable[[ExtractionProgress], None] = _nothing
    on_evaluation: "Callable[[HistoryRow], None]" = _nothing
    checkpoints: Sequence[int] = ()  # numbers of steps
    on_checkpoint: "Callable[[int, Head, GraphBuilder], None]" = _nothing  # after each of these


@dataclass(frozen=True)
class _Data:
    """A folder with its bottlenecks: what both training and evaluation start from."""

    folder: ImageFolder
    extraction: Extraction
    chosen: NDArray[np.int64]  # (n,) numbers of the readable samples
    vectors: NDArray[np.float32]  # (n, d)
    labels: NDArray[np.int32]  # (n,)
    keys: NDArray[np.uint8]  # (n, 32)

    def hex_keys(self) -> list[str]:
        """The keys in hexadecimal."""
        return [key.tobytes().hex() for key in self.keys]


def extract_folder(
    image_dir: str | os.PathLike[str], options: RunOptions = RunOptions(), hooks: Hooks = Hooks()
) -> tuple[Extraction, BottleneckCache]:
    """Pass one alone: put the bottleneck of every picture of a folder into the cache."""
    folder = read_image_folder(image_dir, [options.extraction.cache_dir])
    extractor = _extractor(locate_backbone(options.backbone), folder, options, hooks)
    cache = open_cache(extractor, options.extraction)
    extraction = _extract(folder, extractor, cache, options.extraction, options.images, hooks)
    return extraction, cache


def benchmark(
    image_dir: str | os.PathLike[str] | None,
    options: RunOptions = RunOptions(),
    on_step: Callable[[str], None] = _nothing,
) -> MachineBenchmark:
    """How fast pass one is on this machine, on pictures of a folder; on drawn ones where it is None."""
    backbone = locate_backbone(options.backbone)
    with tempfile.TemporaryDirectory() as place:
        if image_dir is None:
            draw_pictures(Path(place))
        folder = read_image_folder(image_dir or place, [options.extraction.cache_dir])
        return benchmark_machine(folder, backbone, options.images, on_step)


def train(
    image_dir: str | os.PathLike[str],
    model_dir: str | os.PathLike[str] = "model",
    options: RunOptions = RunOptions(),
    hooks: Hooks = Hooks(),
    command: Sequence[str] = (),
) -> TrainedModel:
    """Folder of pictures to model folder: pass one, pass two, test, export.

    Args:
        image_dir: one sub-folder of pictures per class.
        model_dir: made anew; an older model there is replaced when the new one is complete.
        command: the command line, for run.json.
    Raises RetrainError.
    """
    started = time.monotonic()
    check_destination(model_dir, options.extraction.cache_dir)
    model = train_model(image_dir, options, hooks, exclude=[model_dir])
    model.command = command
    hooks.on_stage("export")
    write_model_folder(model_dir, lambda folder: write_files(model, folder, started))
    return model


def train_model(
    image_dir: str | os.PathLike[str],
    options: RunOptions = RunOptions(),
    hooks: Hooks = Hooks(),
    label_of: Callable[[str], str] = str,
    exclude: Sequence[str | os.PathLike[str]] = (),
) -> TrainedModel:
    """Pass one, pass two and the final test, without writing a model.

    Args:
        label_of: the label of a class folder's name.
        exclude: folders that are no classes, should they lie in image_dir; the cache is none in any case.
    Raises RetrainError.
    """
    timings: dict[str, float] = {}
    folder = read_image_folder(image_dir, [options.extraction.cache_dir, *exclude])
    labels = _labels(folder.class_names, label_of)
    _check_counts(folder, folder.counts(), hooks)
    _check_ready_made_split(folder, options, hooks)
    backbone = locate_backbone(options.backbone)
    with _timed(timings, "extraction_seconds"):
        extractor = _extractor(backbone, folder, options, hooks)
        data = _load_data(folder, extractor, options.extraction, options.images, hooks)
    if len(data.chosen) < len(folder.samples):
        counts = np.bincount(data.labels, minlength=len(labels)).tolist()
        _check_counts(folder, counts, hooks)
    samples = [folder.samples[number] for number in data.chosen]
    _check_contradictions(data, hooks)
    sets = assign_sets(samples, data.keys, options.split, os.fspath(image_dir))

    hooks.on_stage("training")
    from retrain.export import GraphBuilder
    from retrain.training import train_head

    graph = GraphBuilder(backbone, options.final_tensor_name, options.extraction.cache_dir, hooks.on_warning)
    graph.prepare()
    members = {name: np.flatnonzero(np.array(sets) == name) for name in SETS}
    _check_sets(labels, {name: data.labels[chosen] for name, chosen in members.items()}, options, hooks)
    with _timed(timings, "training_seconds"):
        head, history = train_head(
            _subset(data, members["train"]),
            _subset(data, members["validation"]),
            len(labels),
            options.training,
            hooks.on_evaluation,
            lambda step, now: hooks.on_checkpoint(step, now, graph),
            hooks.checkpoints,
        )
    hooks.on_stage("evaluation")
    with _timed(timings, "evaluation_seconds"):
        logits = head.logits(data.vectors)
        tested = _test_batch(members["test"], options)
        metrics = {
            name: evaluate_logits(logits[chosen], data.labels[chosen], labels)
            for name, chosen in (members | {"test": tested}).items()
        }
        pictures = _picture_results(data, sets, data.labels, logits, labels)
    result = RunResult(
        labels,
        {name: len(members[name]) for name in SETS},
        metrics,
        pictures,
        data.extraction.skipped,
        timings,
        extraction_summary(data.extraction),
        frozenset(samples[number].path for number in tested),
    )
    return TrainedModel(os.fspath(image_dir), options, backbone, extractor, graph, head, history, result)


def evaluate_folder(
    classifier: "Classifier",
    image_dir: str | os.PathLike[str],
    extraction: ExtractionOptions = ExtractionOptions(),
    images: ImageOptions = ImageOptions(),
    hooks: Hooks = Hooks(),
) -> FolderEvaluation:
    """How a trained model does on any labelled folder; its class folders are named like labels of the model.

    Raises ImageFolderError where the folder has a class that the model does not know, ModelFolderError where the files
    of the model folder don't belong together.
    """
    from retrain.head import read_head

    folder = read_image_folder(image_dir, [extraction.cache_dir, classifier.folder])
    known = {label: number for number, label in enumerate(classifier.labels)}
    unknown = [name for name in folder.class_names if name not in known]
    if unknown:
        raise ImageFolderError(
            f"{display_path(image_dir)} has classes that the model does not know: {', '.join(unknown)}; "
            f"its labels are {', '.join(classifier.labels)}: rename or remove these folders"
        )
    head, labels = read_head(classifier.folder / "head.h5")
    if tuple(labels) != classifier.labels or head.bottleneck_size != classifier.description.bottleneck_size:
        raise ModelFolderError(
            f"head.h5 in {display_path(classifier.folder)} does not fit labels.txt: train the model again"
        )
    sets = read_sets(classifier.folder)
    data = _load_data(folder, classifier.extractor(), extraction, images, hooks)
    numbers = np.array([known[name] for name in folder.class_names], np.int32)[data.labels]
    logits = head.logits(data.vectors)
    pictures = _picture_results(data, [sets.get(key, "new") for key in data.hex_keys()], numbers, logits, labels)
    held_out = np.array([picture.set != "train" for picture in pictures], bool)
    return FolderEvaluation(
        evaluate_logits(logits, numbers, labels),
        evaluate_logits(logits[held_out], numbers[held_out], labels),
        pictures,
        data.extraction,
    )


# steps of a run


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] = time.monotonic() - started


def _labels(class_names: Sequence[str], label_of: Callable[[str], str]) -> tuple[str, ...]:
    labels = tuple(label_of(name) for name in class_names)
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        folders = [name for name, label in zip(class_names, labels, strict=True) if label == twice[0]]
        raise ImageFolderError(
            f"the class folders {' and '.join(map(repr, folders))} would get the same label {twice[0]!r}: rename one"
        )
    return labels


def _check_counts(folder: ImageFolder, counts: Sequence[int], hooks: Hooks) -> None:
    check_class_sizes(folder.class_names, counts)
    few = [f"{name} ({n})" for name, n in zip(folder.class_names, counts, strict=True) if n < FEW_PICTURES]
    if few:
        hooks.on_warning(f"fewer than {FEW_PICTURES} pictures in class {', '.join(few)}: results may be poor, add more")
    for name in folder.empty_folders:
        hooks.on_warning(f"the folder {display_path(name)} holds no files: it is no class")


def _check_ready_made_split(folder: ImageFolder, options: RunOptions, hooks: Hooks) -> None:
    """Say what of the options, or of the folder, does not mean what it may seem to."""
    if folder.has_subsets and options.split != SplitOptions():
        hooks.on_warning(
            f"{display_path(folder.root)} comes with a split of its own, in folders: "
            "--split, --validation-percentage and --test-percentage have no effect"
        )
    sets = [name for name in folder.class_names if name.lower() in SUBSETS]
    if len(sets) > 1:
        others = [name for name in folder.class_names if name not in sets]
        hooks.on_warning(
            f"the folders {', '.join(sets)} are taken for classes, since there are others beside them "
            f"({', '.join(others)}): if they are sets, move the others away"
        )


def _check_contradictions(data: _Data, hooks: Hooks) -> None:
    """Warn of pictures that lie in folders of different classes."""
    first: dict[bytes, int] = {}
    labels = zip(data.keys, data.labels.tolist(), strict=True)
    several = {key.tobytes() for key, label in labels if first.setdefault(key.tobytes(), label) != label}
    if several:
        hooks.on_warning(
            f"{len(several)} pictures are there under several labels: retrain inspect shows which, keep one of each"
        )


def _check_sets(
    labels: Sequence[str], members: dict[str, NDArray[np.int32]], options: RunOptions, hooks: Hooks
) -> None:
    """Refuse a split that leaves a class without training pictures; warn of other gaps.

    Args:
        members: set -> (n,) label numbers of its pictures.
    """
    present = {name: set(np.unique(members[name]).tolist()) for name in SETS}
    missing = {name: [label for number, label in enumerate(labels) if number not in present[name]] for name in SETS}
    if missing["train"]:
        raise ImageFolderError(
            f"no training pictures of class {', '.join(missing['train'])}: add pictures that differ from those there, "
            "or remove the folder"
        )
    for name, share in (
        ("validation", options.split.validation_percentage),
        ("test", options.split.test_percentage),
    ):
        if share and len(members[name]) and missing[name]:
            hooks.on_warning(f"no {name} pictures of class {', '.join(missing[name])}")


def _load_data(
    folder: ImageFolder,
    extractor: Extractor,
    extraction_options: ExtractionOptions,
    images: ImageOptions,
    hooks: Hooks,
) -> _Data:
    """Pass one, then the vectors of all readable samples."""
    cache = open_cache(extractor, extraction_options)
    extraction = _extract(folder, extractor, cache, extraction_options, images, hooks)
    chosen = np.flatnonzero(extraction.readable)
    if not len(chosen):
        raise ImageFolderError(
            f"not one readable picture among {len(folder.samples)} files in {display_path(folder.root)}; "
            f"the first: {next(iter(extraction.skipped.items()))}"
        )
    keys = extraction.keys[chosen]
    rows = cache.find(keys)
    if (rows < 0).any():  # another process may have merged or pruned meanwhile
        cache.refresh()
        rows = cache.find(keys)
    labels = np.array([sample.label for sample in folder.samples], np.int32)[chosen]
    return _Data(folder, extraction, chosen, cache.read(rows), labels, keys)


def _extractor(backbone: Backbone, folder: ImageFolder, options: RunOptions, hooks: Hooks) -> Extractor:
    """What computes the bottlenecks, in the precision asked for."""
    listener = Listener(hooks.on_note, hooks.on_warning, hooks.on_preparation)
    precision, cache_dir = options.backbone.precision, options.extraction.cache_dir
    return choose_extractor(backbone, precision, folder, cache_dir, options.images.max_pixels, listener)


def _extract(
    folder: ImageFolder,
    extractor: Extractor,
    cache: BottleneckCache,
    extraction: ExtractionOptions,
    images: ImageOptions,
    hooks: Hooks,
) -> Extraction:
    hooks.on_stage("extraction")
    done = extract_bottlenecks(folder, extractor, cache, extraction, images, hooks.on_extraction)
    for warning in cache.warnings:
        hooks.on_warning(warning)
    return done


def _subset(data: _Data, members: NDArray[np.int64]) -> Any:
    from retrain.batches import LabelledBottlenecks

    return LabelledBottlenecks(data.vectors[members], data.labels[members])


def _test_batch(members: NDArray[np.int64], options: RunOptions) -> NDArray[np.int64]:
    """The test pictures, or a random part of them where a size is given."""
    size = options.evaluation.test_batch_size
    if size == -1 or size >= len(members):
        return members
    return np.sort(np.random.default_rng(options.training.seed).permutation(members)[:size])


def _picture_results(
    data: _Data,
    sets: Sequence[str],
    labels: NDArray[np.int32],
    logits: NDArray[np.float32],
    names: Sequence[str],
) -> tuple[PictureResult, ...]:
    scores = softmax(logits) if len(logits) else logits
    given = logits.argmax(axis=1) if len(logits) else []
    paths = [data.folder.samples[number].path for number in data.chosen]
    return tuple(
        PictureResult(path, set_, names[label], names[predicted], float(row[predicted]), key)
        for path, set_, label, predicted, row, key in zip(
            paths, sets, labels, given, scores, data.hex_keys(), strict=True
        )
    )
