"""`retrain watch`: train again at every change of a folder, and print a line each time."""

import argparse
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from retrain.cli.arguments import (
    ONE_LABEL,
    Commands,
    Parser,
    add_command,
    add_options,
    add_output_options,
    options_from,
)
from retrain.cli.output import print_json_line, print_text
from retrain.events import Evaluated, Event, StageBegan
from retrain.options import (
    BackboneOptions,
    ExtractionOptions,
    ImageOptions,
    LabelOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
    WatchOptions,
)
from retrain.paths import display_path
from retrain.text import counted, ratio

if TYPE_CHECKING:
    from retrain.report import LiveReport

__all__ = ["add_live_model", "add_watch_command"]

_DESCRIPTION = """\
Train on a folder of pictures, and again whenever it changes.

Add, remove or move pictures with any program: within two seconds a line says how good a
model of the folder is now, and what has changed. New pictures go through the network
once, which takes longer. Ctrl-C ends it.

The figures are those of retrain train with the same options. If there are fewer than 100
test pictures, all pictures are cross-validated instead. With --model-dir, each model is
written, and retrain serve takes it up."""

_EXAMPLES = """\
  retrain watch flower_photos
  retrain watch flower_photos --model-dir flowers     # and in another terminal: retrain serve flowers
  retrain watch flower_photos --json | jq .accuracy.accuracy"""


def add_watch_command(commands: Commands) -> None:
    """Add `watch`."""
    parser = add_command(
        commands, "watch", _watch, "train again at every change of a folder, and say what is better or worse", _EXAMPLES
    )
    parser.description = _DESCRIPTION
    parser.add_argument(
        "--model-dir", metavar="DIR", help="write each model there, as retrain train does (default: write none)"
    )
    add_options(parser, "watching", WatchOptions)
    add_live_model(parser)
    add_output_options(parser)


def add_live_model(parser: Parser) -> None:
    """Add IMAGE_DIR, and the options of a model that follows it."""
    parser.add_argument("image_dir", metavar="IMAGE_DIR", help="folder with one sub-folder of pictures per class")
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures", LabelOptions, SplitOptions, ImageOptions, omitted=ONE_LABEL)
    add_options(parser, "training", TrainingOptions)


def _watch(args: argparse.Namespace) -> int:
    """Print a line for each model, until Ctrl-C."""
    options, watching = options_from(RunOptions, args), options_from(WatchOptions, args)
    from retrain.cli.progress import Progress
    from retrain.pipeline.watch import watch

    progress = Progress(args.quiet)

    def show(event: Event) -> None:
        # a log gets a line for each model, and no second one for its training and writing
        if sys.stderr.isatty() or not isinstance(event, Evaluated | StageBegan):
            progress.show(event)

    reports = watch(args.image_dir, args.model_dir, options, watching, show)
    with (
        contextlib.closing(progress),
        contextlib.suppress(KeyboardInterrupt),  # the way to end it, so it is no error
        contextlib.closing(reports),
    ):
        for report in reports:
            progress.close()
            if args.json:
                print_json_line(report.as_dict())
            else:
                print_text(f"{time.strftime('%H:%M:%S')}  {_line(report)}", flush=True)
    return 0


def _line(report: "LiveReport") -> str:
    """What a report says, in a line."""
    classes = f"{counted(len(report.pictures), 'picture')} in {counted(len(report.labels), 'class')}"
    if report.problem:
        return f"no model: {report.problem}"
    figure = report.headline
    parts = [f"{classes}: nothing to test a model on"]
    if figure:
        low, high = figure.interval
        of = "test pictures" if figure.how == "test set" else f"pictures, {figure.how}"
        parts = [
            f"{classes}: accuracy {ratio(figure.accuracy)} ({ratio(low)} to {ratio(high)}) of {figure.pictures:,} {of}"
        ]
    if report.changes:
        parts.append(report.changes.sentence)
    if report.skipped:
        parts.append(f"{counted(len(report.skipped), 'file')} skipped")
    if report.model_dir:
        parts.append(f"written to {display_path(report.model_dir)}")
    return f"{'; '.join(parts)}; {report.timings['total']:.1f} s"
