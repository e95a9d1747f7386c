"""`retrain studio`: the editor of a folder, the model that follows it, and the page that shows both."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from retrain.data import FolderEdits, FolderWatch, picture_files
from retrain.errors import ImageFolderError, OutputError, UsageError
from retrain.events import Emit, Event, Warned, ignore
from retrain.options import RunOptions, StudioOptions, WatchOptions
from retrain.paths import display_path
from retrain.pipeline.live import LiveModel
from retrain.pipeline.results import WrittenModel
from retrain.serving import FolderContent, StudioParts, StudioServer, WorthALabel, read_folder

__all__ = ["open_studio"]

Folder = str | os.PathLike[str]


@contextlib.contextmanager
def open_studio(
    image_dir: Folder,
    studio: StudioOptions = StudioOptions(),
    options: RunOptions = RunOptions(),
    watching: WatchOptions = WatchOptions(),
    emit: Emit = ignore,
) -> Iterator[StudioServer]:
    """A server of the studio on a folder; run() shows the page.

    Args:
        options: how to train.
        emit: told of an edit that was cut off, if the folder can't be watched, and of warnings of the model, which
            come from another thread.
    Raises UsageError; ImageFolderError if a folder is not there, or is being edited; OutputError if it can't be
        written, or the port can't be had; BackboneError.
    """
    folders = [image_dir] if studio.unlabelled is None else [image_dir, studio.unlabelled]
    _check(folders)
    with contextlib.ExitStack() as stack:
        edits = None
        if not studio.read_only:
            edits = stack.enter_context(contextlib.closing(FolderEdits(image_dir, studio.unlabelled, emit)))
        cache, prefix = options.extraction.cache_dir, _prefix(image_dir, studio.unlabelled, edits)
        parts = StudioParts(
            Path(image_dir),
            _reader(image_dir, studio.unlabelled, prefix, cache),
            edits,
            lambda hear, *rest: _Model(
                image_dir, options, _warning(emit, hear), *rest, unlabelled=studio.unlabelled, prefix=prefix
            ),
            options.images,
            options.backbone.depth,
        )
        server = stack.enter_context(contextlib.closing(StudioServer(parts, studio)))
        for folder in folders:
            watch = stack.enter_context(contextlib.closing(FolderWatch(folder, [cache], watching.poll, emit)))
            threading.Thread(target=_tell, args=(watch, server.workbench.look), name="watch", daemon=True).start()
        yield server


def _warning(emit: Emit, hear: Emit) -> Emit:
    """Tells the page everything, and who started the studio of warnings: there may be no page yet."""

    def tell(event: Event) -> None:
        hear(event)
        if isinstance(event, Warned):
            emit(event)

    return tell


def _check(folders: Sequence[Folder]) -> None:
    """Raises ImageFolderError if a folder is not there, UsageError if one lies in the other."""
    for folder in folders:
        if not os.path.isdir(folder):
            if os.path.exists(folder):
                raise ImageFolderError(f"{display_path(folder)} is a file: give a folder of pictures")
            raise ImageFolderError(f"no such folder: {display_path(folder)}; make it, or give another")
    real = [os.path.realpath(folder) for folder in folders]
    if len(real) > 1 and os.path.commonpath(real) in real:
        raise UsageError(
            f"--unlabelled {display_path(folders[1])} and the image folder {display_path(folders[0])} lie in one "
            "another: pictures in both would have a label and none; put the one beside the other"
        )


def _prefix(image_dir: Folder, unlabelled: str | None, edits: FolderEdits | None) -> str:
    """What the paths of unlabelled pictures begin with."""
    if edits is not None and edits.unlabelled_prefix is not None:
        return edits.unlabelled_prefix
    return "" if unlabelled is None else os.path.relpath(os.path.realpath(unlabelled), os.path.realpath(image_dir))


def _reader(image_dir: Folder, unlabelled: str | None, prefix: str, cache: str) -> Callable[[], FolderContent]:
    """What lists both folders."""
    if unlabelled is None:
        return lambda: read_folder(image_dir, [cache])

    def read() -> FolderContent:
        files = ((os.path.relpath(path, unlabelled), path) for path, _ in picture_files([unlabelled]))
        return read_folder(image_dir, [cache, unlabelled], [(f"{prefix}/{name}", path) for name, path in files])

    return read


class _Model(LiveModel):
    """A live model that knows where pictures without a label are.

    Args:
        unlabelled: their folder; None if there is none.
        prefix: what their paths begin with.
    """

    def __init__(self, *of_live_model: Any, unlabelled: str | None, prefix: str) -> None:
        super().__init__(*of_live_model)
        self._unlabelled, self._prefix = unlabelled, prefix

    def save(self, model_dir: Folder) -> WrittenModel:
        """As `LiveModel.save` does, but not among the pictures, where a model's folder would become a class."""
        place = os.path.realpath(model_dir)
        for folder in [self.image_dir] + ([] if self._unlabelled is None else [self._unlabelled]):
            real = os.path.realpath(folder)
            if os.path.commonpath([real, place]) == real:
                raise OutputError(
                    f"a model can't be saved in {display_path(model_dir)}: {display_path(folder)} is for pictures, and "
                    "each folder there is a class; give another name"
                )
        return super().save(model_dir)

    def worth_a_label(self) -> list[WorthALabel]:
        """Those whose label would help most, first. Raises UpdateCancelled, RetrainError."""
        if self._unlabelled is None:
            return []
        return [
            WorthALabel(f"{self._prefix}/{one.path}", one.reason, *next(iter(one.scores.items()), (None, None)))
            for one in self.label_next(self._unlabelled)
        ]


def _tell(watch: FolderWatch, changed: Callable[[], None]) -> None:
    """Tell of changes until the watch is closed."""
    while watch.wait():
        changed()
