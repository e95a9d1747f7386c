"""How far a run is: bars on a terminal, lines elsewhere, warnings; on stderr."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from retrain.cli.download_progress import has_terminal
from retrain.evaluation.metrics import Metrics
from retrain.extraction.pass_one import ExtractionProgress
from retrain.options import DEFAULT_STEPS, TrainingOptions
from retrain.text import counted, ratio, shown

if TYPE_CHECKING:
    from retrain.training.fine_tuning import FineTuningRow
    from retrain.training.head_trainer import HistoryRow
    from retrain.training.tuning import Try

__all__ = ["Progress"]

_LINE_SECONDS = 5.0  # between progress lines where there is no terminal
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Progress:
    """Progress of a run: bars on a terminal, a line every few seconds elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool, steps: int = 0) -> None:
        self.quiet = quiet
        self.steps = steps
        self._epochs: Callable[[int], str] = lambda steps: ""
        self.extraction: ExtractionProgress | None = None
        self.epoch: int | None = None  # of fine-tuning, the last one that ended; 0 before the first
        self._bar: Any = None
        self._preparing = self._epoch = ""
        self._last_line, self._last_text = time.monotonic(), ""

    def warn(self, message: str) -> None:
        """A warning, also when quiet."""
        tqdm.write(f"retrain: warning: {shown(message)}", file=sys.stderr)

    def say(self, message: str) -> None:
        """A line of its own."""
        if not self.quiet:
            tqdm.write(shown(message), file=sys.stderr)

    def on_stage(self, name: str) -> None:
        """A stage begins."""
        self.close()
        if name == "export":
            self.say("writing the model ...")

    def on_preparation(self, what: str, done: int, total: int) -> None:
        """Work before pass one went on."""
        if what != self._preparing:
            self.close()
            self._preparing = what
        self._show(what, done, total, "")
        self._line(f"{what}: {done} of {counted(total, 'picture')}", False)

    def on_extraction(self, progress: ExtractionProgress) -> None:
        """Pass one went on."""
        first = self.extraction is None or self.extraction.counts_copies != progress.counts_copies
        self.extraction = progress
        rate = progress.extracted / progress.seconds if progress.extracted and progress.seconds > 0 else 0.0
        pictures = counted(progress.pictures, "picture")
        name, unit, what = "bottlenecks", "pictures/s", f"bottlenecks: {progress.done} of {pictures}"
        if progress.counts_copies:
            name, unit, what = "copies", "copies/s", f"distorted copies: {progress.done} of {progress.pictures}"
        self._show(name, progress.done, progress.pictures, f"{rate:.1f} {unit}" if rate else "")
        if first and progress.done < progress.pictures:
            self._line(f"{what} {'is' if progress.pictures == 1 else 'are'} there already", True)
        left = f", {rate:.1f} {unit}, {(progress.pictures - progress.done) / rate:.0f} s left" if rate else ""
        self._line(
            f"{what}{left}",
            progress.done == progress.pictures and progress.extracted > 0,
        )

    def on_fold(self, number: int, folds: int, metrics: Metrics) -> None:
        """A fold of a cross-validation was tested."""
        self.say(
            f"fold {number} of {folds}: accuracy {ratio(metrics.accuracy)} of {metrics.n}, "
            f"cross-entropy {metrics.cross_entropy:.4f}"
        )

    def on_try(self, done: int, planned: int, tried: "Try") -> None:
        """Options were tried on a fold more."""
        options = tried.resolved
        rate = "" if options.learning_rate is None else f", learning rate {options.learning_rate:g}"
        what = f"tuning {done} of {planned}: {options.optimizer}{rate}, L2 {options.l2:g}"
        if tried.error or tried.cross_entropy is None:
            self.say(f"{what}: {tried.error}")
            return
        folds = len(tried.accuracies)
        self.say(
            f"{what}: accuracy {ratio(tried.accuracy)}, cross-entropy {tried.cross_entropy:.4f} "
            f"({counted(folds, 'fold')})"
        )

    def on_training(self, options: TrainingOptions, pictures: int) -> None:
        """Pass two begins."""
        self.steps = options.steps or DEFAULT_STEPS
        if options.epochs is not None:
            self._epochs = lambda steps: (
                # the last one may end within a step
                f" (epoch {min(options.passes(steps, pictures), options.epochs or 0):.1f} of {options.epochs:g})"
            )

    def on_evaluation(self, row: "HistoryRow") -> None:
        """Pass two went on."""
        validation = "" if row.validation_accuracy is None else f", validation accuracy {row.validation_accuracy:.1%}"
        figures = f"train accuracy {row.train_accuracy:.1%}{validation}, cross-entropy {row.train_cross_entropy:.4f}"
        epoch = self._epochs(row.step + 1)
        self._show("training", row.step + 1, self.steps, f"{figures}{epoch}")
        self._line(f"step {row.step}{epoch}: {figures}", row.step == self.steps - 1)

    def on_fine_tuning(self, done: int, steps: int) -> None:
        """Fine-tuning went on."""
        self._show("fine-tuning", done, steps, self._epoch)
        self._line(f"fine-tuning: step {done} of {steps}", False)

    def on_epoch(self, row: "FineTuningRow") -> None:
        """An epoch of fine-tuning ended; 0 is before the first."""
        validation = ""
        if row.validation_accuracy is not None:
            validation = (
                f", validation accuracy {row.validation_accuracy:.1%}, cross-entropy {row.validation_cross_entropy:.4f}"
            )
        self.epoch = row.epoch
        self._epoch = f"train accuracy {row.train_accuracy:.1%}{validation}"
        if self._bar is None:
            self.say(f"{f'epoch {row.epoch}' if row.epoch else 'before fine-tuning'}: {self._epoch}")

    def on_inspection(self, done: int, total: int) -> None:
        """Files were looked at."""
        self._show("reading", done, total, "")
        self._line(f"reading: {done} of {counted(total, 'file')}", False)

    def close(self) -> None:
        """The bar stays as it is, and the cursor goes to the next line."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        self._bar = None
        self._last_line = time.monotonic()

    def _show(self, name: str, done: int, total: int, figures: str) -> None:
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
            self.say(text)
