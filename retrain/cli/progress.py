"""Progress on stderr: bars on a terminal, a line every few seconds elsewhere, and warnings."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import singledispatchmethod
from typing import Any

from tqdm import tqdm

from retrain.backbones import Listener
from retrain.errors import Interrupted
from retrain.events import (
    EpochEnded,
    Evaluated,
    Event,
    Extracted,
    FineTuningStepped,
    FoldTested,
    Inspected,
    Noted,
    Prepared,
    Reported,
    StageBegan,
    TrainingBegan,
    TryTested,
    Warned,
)
from retrain.text import counted, ratio, shown

__all__ = ["DownloadProgress", "Progress", "resumable_progress"]

_LINE_SECONDS = 5.0  # between lines where there is no terminal
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_BAR_OF_BYTES = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_BAR_WITHOUT_TOTAL = "{desc}: {n_fmt} [{elapsed}, {rate_fmt}{postfix}]"
_MB = 10**6


class _Display:
    """Shows one piece of work after another, each as a bar or as lines. When quiet, it shows warnings only.

    Args:
        last_line: when there was a line, in seconds of time.monotonic(); the next one comes a few seconds later.
    """

    def __init__(self, quiet: bool, last_line: float) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._last_line, self._last_text = last_line, ""

    @property
    def has_bar(self) -> bool:
        """Whether a bar is shown."""
        return self._bar is not None

    def begin(self, name: str, done: int, total: int | None, **look: Any) -> None:
        """Show a bar if there is a terminal. look: more arguments of tqdm."""
        if not self._quiet and _has_terminal():
            # what was done before is no work, and would spoil the time left
            self._bar = tqdm(
                total=total, initial=done, desc=name, file=sys.stderr, dynamic_ncols=True, **{"bar_format": _BAR} | look
            )

    def move(self, done: int, figures: str = "") -> None:
        """Move the bar, if there is one, to where the work is."""
        if self._bar is not None:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(done - self._bar.n)

    def note(self, text: str) -> None:
        """Say something beside the bar, or in a line."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:
            self.line(f"retrain: {text}")

    def line(self, text: str, now: bool = False) -> None:
        """A line in place of a bar: now, or if the last one was some time ago."""
        if self._quiet or self._bar is not None or text == self._last_text:
            return
        if now or time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line, self._last_text = time.monotonic(), text
            self.say(text)

    def say(self, text: str) -> None:
        """A line of its own, also above a bar."""
        if not self._quiet:
            tqdm.write(shown(text), file=sys.stderr)

    def warn(self, text: str) -> None:
        """A warning, also when quiet."""
        tqdm.write(f"retrain: warning: {shown(text)}", file=sys.stderr)

    def end(self) -> None:
        """Leave the bar as it is, and move the cursor to the next line."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        self._bar = None
        self._last_line = time.monotonic()


def _has_terminal() -> bool:
    """Whether stderr is a terminal that says how large it is."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return min(size) > 0


class DownloadProgress(Listener):
    """Shows how downloads go on."""

    def __init__(self, quiet: bool) -> None:
        self._display = _Display(quiet, float("-inf"))
        self._what, self._done, self._total = "", 0, 0

    def begin(self, what: str, done: int, total: int | None) -> None:
        """Show a bar, or how much there is to come."""
        self.end()
        self._what, self._done, self._total = what, done, total or 0
        form = _BAR_OF_BYTES if total else _BAR_WITHOUT_TOTAL
        self._display.begin(f"downloading {what}", done, total, bar_format=form, unit="B", unit_scale=True)
        self._line(now=True)

    def advance(self, count: int) -> None:
        """Move on by so many bytes."""
        self._done += count
        self._display.move(self._done)
        self._line(now=False)

    def wait(self, text: str) -> None:
        """Say what the download waits for."""
        self._display.note(text)

    def end(self) -> None:
        """The download is over."""
        self._display.move(self._done)
        self._display.end()

    def warn(self, text: str) -> None:
        """A warning, also when quiet."""
        self._display.warn(text)

    def _line(self, now: bool) -> None:
        of = f" of {self._total / _MB:.1f}" if self._total else ""
        self._display.line(f"retrain: downloading {self._what}: {self._done / _MB:.1f}{of} MB", now)


class Progress:
    """Shows how a run goes on; remembers how far it came."""

    def __init__(self, quiet: bool) -> None:
        self.steps = 0
        self.extraction: Extracted | None = None
        self.epoch: int | None = None  # of fine-tuning, the last one that ended; 0 before the first
        self._display = _Display(quiet, time.monotonic())
        self._epochs: Callable[[int], str] = lambda steps: ""
        self._preparing = self._epoch = ""
        self._measure = "accuracy"

    @singledispatchmethod
    def show(self, event: Event) -> None:
        """Show an event to the user: what a command gives the library as `emit`."""

    @show.register
    def _warning(self, event: Warned) -> None:  # also when quiet
        self._display.warn(event.message)

    @show.register
    def _note(self, event: Noted) -> None:
        self._display.say(event.message)

    @show.register
    def _stage(self, event: StageBegan) -> None:
        self.close()
        if event.name == "export":
            self._display.say("writing the model ...")

    @show.register
    def _preparation(self, event: Prepared) -> None:
        if event.what != self._preparing:
            self.close()
            self._preparing = event.what
        self._move(event.what, event.done, event.total)
        self._display.line(f"{event.what}: {event.done} of {counted(event.total, 'picture')}")

    @show.register
    def _report(self, event: Reported) -> None:
        if event.what != self._preparing:
            self.close()
            self._preparing = event.what
        self._move(event.what, event.done, event.total)
        self._display.line(f"{event.what}: {event.done:,} of {event.total:,}")

    @show.register
    def _inspection(self, event: Inspected) -> None:
        self._move("reading", event.done, event.total)
        self._display.line(f"reading: {event.done:,} of {counted(event.total, 'file')}")

    @show.register
    def _extraction(self, progress: Extracted) -> None:
        first = self.extraction is None or self.extraction.counts_copies != progress.counts_copies
        self.extraction = progress
        rate = progress.extracted / progress.seconds if progress.extracted and progress.seconds > 0 else 0.0
        pictures = counted(progress.pictures, "picture")
        name, unit, what = "bottlenecks", "pictures/s", f"bottlenecks: {progress.done:,} of {pictures}"
        if progress.counts_copies:
            name, unit, what = "copies", "copies/s", f"distorted copies: {progress.done:,} of {progress.pictures:,}"
        self._move(name, progress.done, progress.pictures, f"{rate:.1f} {unit}" if rate else "")
        if first and progress.done < progress.pictures:
            self._display.line(f"{what} {'is' if progress.pictures == 1 else 'are'} there already", now=True)
        left = f", {rate:.1f} {unit}, {(progress.pictures - progress.done) / rate:.0f} s left" if rate else ""
        self._display.line(f"{what}{left}", now=progress.done == progress.pictures and progress.extracted > 0)

    @show.register
    def _fold(self, test: FoldTested) -> None:
        self._display.say(
            f"fold {test.fold} of {test.folds}: {test.measure} {ratio(test.accuracy)} of {test.pictures}, "
            f"cross-entropy {test.cross_entropy:.4f}"
        )

    @show.register
    def _try(self, tried: TryTested) -> None:
        rate = "" if tried.learning_rate is None else f", learning rate {tried.learning_rate:g}"
        what = f"tuning {tried.done} of {tried.planned}: {tried.optimizer}{rate}, L2 {tried.l2:g}"
        if tried.error or tried.cross_entropy is None:
            self._display.say(f"{what}: {tried.error}")
            return
        self._display.say(
            f"{what}: {tried.measure} {ratio(tried.accuracy)}, cross-entropy {tried.cross_entropy:.4f} "
            f"({counted(tried.folds, 'fold')})"
        )

    @show.register
    def _training(self, training: TrainingBegan) -> None:
        self.steps, epochs, self._measure = training.steps, training.epochs, training.measure
        if epochs is not None:
            self._epochs = lambda steps: (
                # the last one may end within a step
                f" (epoch {min(steps * training.batch_size / training.pictures, epochs):.1f} of {epochs:g})"
            )

    @show.register
    def _evaluation(self, row: Evaluated) -> None:
        measure, tested = self._measure, row.validation_accuracy
        validation = "" if tested is None else f", validation {measure} {tested:.1%}"
        figures = f"train {measure} {row.train_accuracy:.1%}{validation}, cross-entropy {row.train_cross_entropy:.4f}"
        epoch = self._epochs(row.step + 1)
        self._move("training", row.step + 1, self.steps, f"{figures}{epoch}")
        self._display.line(f"step {row.step}{epoch}: {figures}", now=row.step == self.steps - 1)

    @show.register
    def _fine_tuning(self, event: FineTuningStepped) -> None:
        self._move("fine-tuning", event.done, event.steps, self._epoch)
        self._display.line(f"fine-tuning: step {event.done} of {event.steps}")

    @show.register
    def _epoch_end(self, row: EpochEnded) -> None:
        validation = ""
        if row.validation_accuracy is not None:
            validation = (
                f", validation {self._measure} {row.validation_accuracy:.1%}, "
                f"cross-entropy {row.validation_cross_entropy:.4f}"
            )
        self.epoch = row.epoch
        self._epoch = f"train {self._measure} {row.train_accuracy:.1%}{validation}"
        if not self._display.has_bar:
            self._display.say(f"{f'epoch {row.epoch}' if row.epoch else 'before fine-tuning'}: {self._epoch}")

    def close(self) -> None:
        """End what is shown."""
        self._display.end()

    def _move(self, name: str, done: int, total: int, figures: str = "") -> None:
        """Move the bar; the first move begins it."""
        if not self._display.has_bar:
            self._display.begin(name, done, total)
        self._display.move(done, figures)


@contextlib.contextmanager
def resumable_progress(quiet: bool) -> Iterator[Progress]:
    """Show the progress of work that goes on where it was interrupted. Raises Interrupted after Ctrl-C."""
    with contextlib.closing(Progress(quiet)) as progress:
        try:
            yield progress
        except KeyboardInterrupt:
            raise _interrupted(progress) from None


def _interrupted(progress: Progress) -> Interrupted:
    """What to say after Ctrl-C: how far the work got, and that nothing is lost."""
    done = progress.extraction
    if done is None:
        return Interrupted("interrupted before the first picture")
    what = counted(done.pictures, "distorted copy" if done.counts_copies else "picture")
    if done.done < done.pictures:
        return Interrupted(
            f"interrupted after {done.done:,} of {what}; what is done is kept: the same command goes on from there"
        )
    if progress.epoch:
        return Interrupted(
            f"interrupted after epoch {progress.epoch} of fine-tuning; finished epochs are kept: the same command "
            "goes on from there"
        )
    return Interrupted(f"interrupted; the bottlenecks of all {what} are kept: the same command goes on from there")
