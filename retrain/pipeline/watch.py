"""`watch`: train again at every change of a folder."""

import dataclasses
import os
import time
from collections.abc import Generator, Iterator, Sequence

from retrain.data import FolderWatch
from retrain.errors import RetrainError
from retrain.events import Emit, Warned, ignore
from retrain.model import check_destination
from retrain.options import RunOptions, WatchOptions
from retrain.pipeline.live import LiveModel, UpdateCancelled
from retrain.report import LiveReport

__all__ = ["Follower", "watch"]

_PATIENCE_SECONDS = 10.0  # after which an update is finished though changes go on
_AGAIN_SECONDS = 1.0  # until files that may be incomplete are looked at again
_PROBLEM_SECONDS = 15.0  # until a folder that could not be trained is looked at again: it may be the disk, not a file


class Follower:
    """A live model, and the watch that tells it when to go on.

    A change during an update stops it, and the next one begins; but where changes go on and on, there is a report every
    ten seconds or so.

    Args:
        image_dir, options, emit, exclude: as for LiveModel.
        poll: seconds between looks at the folder, in place of notification.
    """

    def __init__(
        self,
        image_dir: str | os.PathLike[str],
        options: RunOptions = RunOptions(),
        emit: Emit = ignore,
        exclude: Sequence[str | os.PathLike[str]] = (),
        poll: float | None = None,
    ) -> None:
        self.model = LiveModel(image_dir, options, emit, self._is_outdated, exclude)
        self.folder = FolderWatch(image_dir, [options.extraction.cache_dir, *exclude], poll, emit)
        self._since = time.monotonic()

    def _is_outdated(self) -> bool:
        return self.folder.is_closed or (
            self.folder.has_changed() and time.monotonic() - self._since < _PATIENCE_SECONDS
        )

    def reports(self, closer: bool = False) -> Iterator[LiveReport]:
        """Yield a report at once, and one after each change that makes a difference, until the watch is closed.

        Args:
            closer: yield each report of a model once more, with suspects and copies across sets.
        Raises RetrainError where neither folder nor disk is to blame.
        """
        version = 0
        while not self.folder.is_closed:
            try:
                report = self.model.update()
                if report.version != version:
                    version = report.version
                    yield report
                if closer and report.suspects is None and report.problem is None:
                    yield self.model.look_closer()
            except UpdateCancelled:
                self.folder.wait()
                continue
            self.model.load_network()  # in time that nobody waits for
            self.folder.wait(_AGAIN_SECONDS if report.waiting else _PROBLEM_SECONDS if report.problem else None)
            self._since = time.monotonic()

    def close(self) -> None:
        """Stop watching. `reports` ends."""
        self.folder.close()


def watch(
    image_dir: str | os.PathLike[str],
    model_dir: str | os.PathLike[str] | None = None,
    options: RunOptions = RunOptions(),
    watching: WatchOptions = WatchOptions(),
    emit: Emit = ignore,
) -> Generator[LiveReport, None, None]:
    """Train on a folder now, and again whenever it changes. Yields a report each time, without end.

    The figures come within about two seconds of a change; new pictures take the time of their extraction in addition.
    A folder that can't be trained gives a report that says why.

        for report in retrain.watch("flower_photos"):
            print(report.headline, report.changes)

    Args:
        image_dir: one sub-folder of pictures per class.
        model_dir: where each model is written, as `retrain train` writes it, before its report comes. None: nowhere.
        options: of the training; see LiveModel.
        emit: called with events; see `retrain.events`. Partly in another thread.
    Raises RetrainError where neither folder nor disk is to blame.
    """
    if model_dir is not None:
        check_destination(model_dir, options.extraction.cache_dir, emit)
    exclude = [] if model_dir is None else [model_dir]
    follower = Follower(image_dir, options, emit, exclude, watching.poll)
    try:
        for report in follower.reports():
            if model_dir is None or report.problem is not None:
                yield report
                continue
            try:
                written = follower.model.save(model_dir)
            except RetrainError as error:  # a full disk, or the folder has just changed
                emit(Warned(f"the model of {len(report.pictures):,} pictures is not written: {error}"))
                yield report
            else:
                yield dataclasses.replace(report, model_dir=written.model_dir)
    finally:
        follower.close()
