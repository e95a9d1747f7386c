"""The command line: a thin shell that parses, runs a command, and turns errors into exit codes."""

import argparse
import contextlib
import io
import logging
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

import retrain
from retrain import _tensorflow
from retrain.cli import commands as do
from retrain.cli.arguments import EXIT_ERROR, EXIT_USAGE, Parser, add_options, log_to_stderr
from retrain.cli.backbones import add_backbones_commands
from retrain.cli.cache import add_cache_commands
from retrain.errors import Interrupted, RetrainError, UsageError
from retrain.interruption import EXIT_INTERRUPTED, tell
from retrain.options.run import (
    AugmentationOptions,
    BackboneOptions,
    CrossValidationOptions,
    EvaluationOptions,
    ExtractionOptions,
    FineTuningOptions,
    ImageOptions,
    LabelOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
    TuningOptions,
)
from retrain.paths import display_path
from retrain.text import shown

__all__ = ["build_parser", "main"]

_DESCRIPTION = """\
Train an image classifier from a folder with one sub-folder of pictures per class.
Pictures go once through a frozen network; their vectors are cached, so that training
takes seconds and a second run costs next to nothing."""

_EPILOG = """\
examples:
  retrain train flower_photos                  pictures -> model/
  retrain predict model rose.jpg tulip.png     label and scores of pictures
  retrain evaluate model other_pictures        accuracy on any labelled folder

The command line of TensorFlow's retrain.py works, too: retrain --image_dir flower_photos ..."""


_TITLES: dict[type, str] = {
    CrossValidationOptions: "cross-validation",
    BackboneOptions: "backbone",
    ExtractionOptions: "pass one: pictures to bottlenecks",
    ImageOptions: "pictures",
    LabelOptions: "labels",
    SplitOptions: "split",
    AugmentationOptions: "augmentation",
    TrainingOptions: "pass two: training",
    FineTuningOptions: "fine-tuning",
    TuningOptions: "search",
    EvaluationOptions: "calibration and final test",
    RunOptions: "export",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="retrain",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"retrain {retrain.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(run=run)
        return added

    train = command("train", do.train, "train a model on a folder: pass one, pass two, test, export")
    _add_image_dir(train)
    train.add_argument(
        "--model-dir", default="model", metavar="DIR", help="where the model folder goes (default: model)"
    )
    _add_stages(train, *(options for options in _TITLES if options is not CrossValidationOptions))
    _add_output(train)

    crossval = command("crossval", do.crossval, "tell by cross-validation how good a model of a folder would be")
    _add_image_dir(crossval)
    _add_stages(crossval, CrossValidationOptions, BackboneOptions, ExtractionOptions, ImageOptions, LabelOptions)
    _add_stages(crossval, AugmentationOptions, TrainingOptions)
    _add_output(crossval)

    predict = command("predict", do.predict, "classify pictures with a trained model")
    _add_predict(predict)

    evaluate = command("evaluate", do.evaluate, "measure a trained model on a labelled folder")
    _add_model_dir(evaluate)
    _add_image_dir(evaluate)
    evaluate.add_argument(
        "--output",
        metavar="DIR",
        help="also write evaluation.json, confusion_matrix.csv, predictions.csv and skipped.csv into this folder",
    )
    _add_stages(evaluate, ExtractionOptions, ImageOptions)
    _add_output(evaluate)

    inspect = command("inspect", do.inspect, "tell what is in a folder, before training on it")
    _add_inspect(inspect)

    extract = command("extract", do.extract, "pass one alone: fill the bottleneck cache")
    _add_image_dir(extract, nargs="?")
    extract.add_argument(
        "--benchmark",
        action="store_true",
        help="fill nothing: measure for about a minute how fast this machine is, alone and together, in each "
        "precision, on pictures of IMAGE_DIR (on drawn ones without it), and say which to use",
    )
    _add_stages(extract, BackboneOptions, ExtractionOptions, ImageOptions)
    _add_output(extract)

    add_backbones_commands(commands, _add_output)
    add_cache_commands(commands, _add_output)
    return parser


def _add_predict(parser: argparse.ArgumentParser) -> None:
    _add_model_dir(parser)
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="picture files, or folders of them; -: a picture from standard input",
    )
    parser.add_argument(
        "--top", type=int, metavar="N", help="the N most likely labels only (default: 5; with --json all of them)"
    )
    parser.add_argument(
        "--wrong",
        action="store_true",
        help="show only pictures whose label is not what the folder that they lie in says, and how many these are",
    )
    _add_stages(parser, ImageOptions)
    _add_output(parser)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    _add_image_dir(parser)
    parser.add_argument(
        "--list",
        action="store_true",
        help="also a line for every picture: its set, its label, its path, with tabs between",
    )
    parser.add_argument(
        "--sheet",
        metavar="FILE",
        help="with --augment: where a PNG goes that shows a training picture of each class, of eight at most, and up "
        "to seven of its copies (default: distortions.png)",
    )
    _add_stages(parser, ImageOptions, LabelOptions, SplitOptions, AugmentationOptions)
    _add_output(parser)


def _add_stages(parser: argparse.ArgumentParser, *stages: type) -> None:
    for options in stages:
        add_options(parser, options, _TITLES[options])


def _add_image_dir(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    text = "folder with one sub-folder of pictures per class"
    parser.add_argument("image_dir", metavar="IMAGE_DIR", nargs=nargs, help=text)


def _add_model_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="folder that retrain train made")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the model's graph even if it has operations that may read or write files, start programs or call "
        "Python: it can then do all that you may do on this machine",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress, only results, warnings and errors")
    group.add_argument("--verbose", action="store_true", help="say more about what is done")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 for errors, 2 for wrong usage, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _tensorflow.prepare_process()
    warnings.simplefilter("ignore")  # third parties' notes to developers
    for noisy in ("tensorflow", "absl", "h5py"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    _allow_files()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 shows what it can
    try:
        if argv and argv[0].startswith("--") and argv[0] not in ("--help", "--version"):
            from retrain.cli import original

            with _downloads_shown(quiet=False):
                return original.main(argv)
        args = build_parser().parse_args(argv)
        args.command = ["retrain", *argv]
        log_to_stderr(logging.INFO if args.verbose else logging.CRITICAL, "retrain: %(message)s")
        with _downloads_shown(args.quiet):
            code = int(args.run(args))
        sys.stdout.flush()  # here, where a full disk or a closed pipe is met with a message
        return code
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    except Interrupted as error:
        return _fail(error, EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except RetrainError as error:
        return _fail(error, EXIT_ERROR)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _forget_output()
        return EXIT_ERROR
    except OSError as error:
        _forget_output()
        where = f": {display_path(error.filename)}" if error.filename else " (writing the output?)"
        return _fail(f"{error.strerror or error}{where}", EXIT_ERROR)


@contextlib.contextmanager
def _downloads_shown(quiet: bool) -> Iterator[None]:
    from retrain.backbones.sources import downloads
    from retrain.cli import download_progress as download_console

    with downloads.listening(download_console.DownloadProgress(quiet)):
        yield


def _allow_files() -> None:
    """Open files, as many as the system allows: every segment of the cache takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _forget_output() -> None:
    """Let what could not be written to stdout go, or Python would try once more on its way out, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: object, code: int) -> int:
    message = shown(" ".join(str(error).split()))
    tell(f"retrain: error: {message}")
    return code
