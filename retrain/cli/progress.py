"""How far a run is: bars on a terminal, lines elsewhere, warnings; on stderr."""

import sys
import time
from collections.abc import Callable
from functools import singledispatchmethod
from typing import Any

from tqdm import tqdm

from retrain.cli.download_progress import has_terminal
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
    StageBegan,
    TrainingBegan,
    TryTested,
    Warned,
)
from retrain.text import counted, ratio, shown

__all__ = ["Progress"]

_LINE_SECONDS = 5.0  # between progress lines where there is no terminal
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Progress:
    """Progress of a run: bars on a terminal, a line every few seconds elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool, steps: int = 0) -> None:
        self.quiet = quiet
        self.steps = steps
        self._epochs: Callable[[int], str] = lambda steps: ""
        self.extraction: Extracted | None = None
        self.epoch: int | None = None  # of fine-tuning, the last one that ended; 0 before the first
        self._bar: Any = None
        self._preparing = self._epoch = ""
        self._last_line, self._last_text = time.monotonic(), ""

    @singledispatchmethod
    def show(self, event: Event) -> None:
        """Show an event to the user: what a command gives the library as `emit`."""

    @show.register
    def _warning(self, event: Warned) -> None:  # also when quiet
        tqdm.write(f"retrain: warning: {shown(event.message)}", file=sys.stderr)

    @show.register
    def _note(self, event: Noted) -> None:
        self._say(event.message)

    @show.register
    def _stage(self, event: StageBegan) -> None:
        self.close()
        if event.name == "export":
            self._say("writing the model ...")

    @show.register
    def _preparation(self, event: Prepared) -> None:
        if event.what != self._preparing:
            self.close()
            self._preparing = event.what
        self._move(event.what, event.done, event.total, "")
        self._line(f"{event.what}: {event.done} of {counted(event.total, 'picture')}", False)

    @show.register
    def _inspection(self, event: Inspected) -> None:
        self._move("reading", event.done, event.total, "")
        self._line(f"reading: {event.done} of {counted(event.total, 'file')}", False)

    @show.register
    def _extraction(self, progress: Extracted) -> None:
        first = self.extraction is None or self.extraction.counts_copies != progress.counts_copies
        self.extraction = progress
        rate = progress.extracted / progress.seconds if progress.extracted and progress.seconds > 0 else 0.0
        pictures = counted(progress.pictures, "picture")
        name, unit, what = "bottlenecks", "pictures/s", f"bottlenecks: {progress.done} of {pictures}"
        if progress.counts_copies:
            name, unit, what = "copies", "copies/s", f"distorted copies: {progress.done} of {progress.pictures}"
        self._move(name, progress.done, progress.pictures, f"{rate:.1f} {unit}" if rate else "")
        if first and progress.done < progress.pictures:
            self._line(f"{what} {'is' if progress.pictures == 1 else 'are'} there already", True)
        left = f", {rate:.1f} {unit}, {(progress.pictures - progress.done) / rate:.0f} s left" if rate else ""
        self._line(
            f"{what}{left}",
            progress.done == progress.pictures and progress.extracted > 0,
        )

    @show.register
    def _fold(self, test: FoldTested) -> None:
        self._say(
            f"fold {test.fold} of {test.folds}: accuracy {ratio(test.accuracy)} of {test.pictures}, "
            f"cross-entropy {test.cross_entropy:.4f}"
        )

    @show.register
    def _try(self, tried: TryTested) -> None:
        rate = "" if tried.learning_rate is None else f", learning rate {tried.learning_rate:g}"
        what = f"tuning {tried.done} of {tried.planned}: {tried.optimizer}{rate}, L2 {tried.l2:g}"
        if tried.error or tried.cross_entropy is None:
            self._say(f"{what}: {tried.error}")
            return
        self._say(
            f"{what}: accuracy {ratio(tried.accuracy)}, cross-entropy {tried.cross_entropy:.4f} "
            f"({counted(tried.folds, 'fold')})"
        )

    @show.register
    def _training(self, training: TrainingBegan) -> None:
        self.steps, epochs = training.steps, training.epochs
        if epochs is not None:
            self._epochs = lambda steps: (
                # the last one may end within a step
                f" (epoch {min(steps * training.batch_size / training.pictures, epochs):.1f} of {epochs:g})"
            )

    @show.register
    def _evaluation(self, row: Evaluated) -> None:
        validation = "" if row.validation_accuracy is None else f", validation accuracy {row.validation_accuracy:.1%}"
        figures = f"train accuracy {row.train_accuracy:.1%}{validation}, cross-entropy {row.train_cross_entropy:.4f}"
        epoch = self._epochs(row.step + 1)
        self._move("training", row.step + 1, self.steps, f"{figures}{epoch}")
        self._line(f"step {row.step}{epoch}: {figures}", row.step == self.steps - 1)

    @show.register
    def _fine_tuning(self, event: FineTuningStepped) -> None:
        self._move("fine-tuning", event.done, event.steps, self._epoch)
        self._line(f"fine-tuning: step {event.done} of {event.steps}", False)

    @show.register
    def _epoch_end(self, row: EpochEnded) -> None:
        validation = ""
        if row.validation_accuracy is not None:
            validation = (
                f", validation accuracy {row.validation_accuracy:.1%}, cross-entropy {row.validation_cross_entropy:.4f}"
            )
        self.epoch = row.epoch
        self._epoch = f"train accuracy {row.train_accuracy:.1%}{validation}"
        if self._bar is None:
            self._say(f"{f'epoch {row.epoch}' if row.epoch else 'before fine-tuning'}: {self._epoch}")

    def close(self) -> None:
        """The bar stays as it is, and the cursor goes to the next line."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        self._bar = None
        self._last_line = time.monotonic()

    def _say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            tqdm.write(shown(text), file=sys.stderr)

    def _move(self, name: str, done: int, total: int, figures: str) -> None:
        """Put the bar, where there is one, to where the work is."""
        if self.quiet or not has_terminal():
            return
        if self._bar is None:
            # what was done before it began is no work, and would spoil the time left
            self._bar = tqdm(total=total, initial=done, desc=name, file=sys.stderr, bar_format=_BAR, dynamic_ncols=True)
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update(done - self._bar.n)

    def _line(self, text: str, now: bool) -> None:
        if self.quiet or self._bar is not None:
            return
        if text != self._last_text and (now or time.monotonic() - self._last_line >= _LINE_SECONDS):
            self._last_line, self._last_text = time.monotonic(), text
            self._say(text)
