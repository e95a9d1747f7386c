"""The command line: a thin shell that parses, runs a command, and turns errors into exit codes."""

import contextlib
import io
import logging
import os
import resource
import sys
import warnings
from collections.abc import Iterator, Sequence

import retrain
from retrain import _tensorflow
from retrain.cli import commands as do
from retrain.cli.arguments import (
    EXIT_ERROR,
    EXIT_USAGE,
    Commands,
    Parser,
    PrintCompletion,
    add_command,
    add_options,
    add_output_options,
)
from retrain.cli.backbones import add_backbones_commands
from retrain.cli.cache import add_cache_commands
from retrain.cli.output import log_to_stderr
from retrain.errors import Interrupted, RetrainError, UsageError
from retrain.interruption import EXIT_INTERRUPTED, tell
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    CrossValidationOptions,
    EvaluationOptions,
    ExtractionOptions,
    FineTuningOptions,
    ImageOptions,
    LabelOptions,
    PredictionOptions,
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

Each picture goes once through a frozen network. The resulting vectors are cached,
so training takes seconds, and a second run costs next to nothing."""

_EPILOG = """\
examples:
  retrain train flower_photos                  pictures -> model/
  retrain predict model rose.jpg tulip.png     labels and scores of pictures
  retrain evaluate model other_pictures        accuracy on a labelled folder

The command line of TensorFlow's retrain.py works, too: retrain --image_dir flower_photos ..."""

_OWN_OPTIONS = ("--help", "--help-all", "--version", "--print-completion")  # others are of the original program


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog="retrain", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "--version", action="version", version=f"retrain {retrain.__version__}", help="show the version"
    )
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=("bash", "zsh"),
        help="print a script that completes commands, options and paths in this shell",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_crossval(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_inspect(commands)
    _add_extract(commands)
    add_backbones_commands(commands)
    add_cache_commands(commands)
    return parser


def _add_train(commands: Commands) -> None:
    parser = add_command(
        commands,
        "train",
        do.train,
        "train a model on a folder of pictures, test it and export it",
        "  retrain train flower_photos\n"
        "  retrain train flower_photos --augment 10 --flip --rotate 10 --model-dir flowers",
    )
    _add_image_dir(parser)
    parser.add_argument("--model-dir", default="model", metavar="DIR", help="where to put the model (default: model)")
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures", LabelOptions, SplitOptions, ImageOptions)
    add_options(parser, "distorted copies", AugmentationOptions)
    add_options(parser, "training", TrainingOptions, TuningOptions)
    add_options(parser, "fine-tuning", FineTuningOptions)
    add_options(parser, "results", EvaluationOptions, RunOptions)
    add_output_options(parser)


def _add_crossval(commands: Commands) -> None:
    parser = add_command(
        commands,
        "crossval",
        do.crossval,
        "estimate by cross-validation how good a model of a folder would be",
        "  retrain crossval flower_photos --folds 5",
    )
    _add_image_dir(parser)
    add_options(parser, "cross-validation", CrossValidationOptions)
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures", LabelOptions, ImageOptions)
    add_options(parser, "distorted copies", AugmentationOptions)
    add_options(parser, "training", TrainingOptions)
    add_output_options(parser)


def _add_predict(commands: Commands) -> None:
    parser = add_command(
        commands,
        "predict",
        do.predict,
        "classify pictures with a trained model",
        "  retrain predict model rose.jpg\n  retrain predict model flower_photos --wrong",
    )
    _add_model_dir(parser)
    text = "picture files, or folders of them; -: a picture from standard input"
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=text)
    add_options(parser, "predictions", PredictionOptions)
    add_options(parser, "pictures", ImageOptions)
    add_output_options(parser)


def _add_evaluate(commands: Commands) -> None:
    parser = add_command(
        commands,
        "evaluate",
        do.evaluate,
        "measure a trained model on a labelled folder",
        "  retrain evaluate model other_pictures --output results",
    )
    _add_model_dir(parser)
    _add_image_dir(parser)
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="also write evaluation.json, confusion_matrix.csv, predictions.csv and skipped.csv to this folder",
    )
    add_options(parser, "pictures", ExtractionOptions, ImageOptions)
    add_output_options(parser)


def _add_inspect(commands: Commands) -> None:
    parser = add_command(
        commands,
        "inspect",
        do.inspect,
        "show what is in a folder, before training on it",
        "  retrain inspect flower_photos\n  retrain inspect flower_photos --augment 7 --flip --sheet copies.png",
    )
    _add_image_dir(parser)
    text = "also print a line for each picture: its set, its label and its path, separated by tabs"
    parser.add_argument("--list", action="store_true", help=text)
    parser.add_argument(
        "--sheet",
        metavar="FILE",
        help="with --augment: write this PNG, which shows a training picture of each class (at most 8) and its copies "
        "(at most 7) (default: distortions.png)",
    )
    add_options(parser, "pictures", LabelOptions, SplitOptions, ImageOptions)
    add_options(parser, "distorted copies", AugmentationOptions)
    add_output_options(parser)


def _add_extract(commands: Commands) -> None:
    parser = add_command(
        commands,
        "extract",
        do.extract,
        "fill the bottleneck cache, or measure how fast this machine does it",
        "  retrain extract flower_photos\n  retrain extract --benchmark",
    )
    _add_image_dir(parser, nargs="?")
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="extract nothing; measure for about a minute how fast this machine is in each precision, on pictures of "
        "IMAGE_DIR if given, and recommend one",
    )
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures", ImageOptions)
    add_output_options(parser)


def _add_image_dir(parser: Parser, nargs: str | None = None) -> None:
    text = "folder with one sub-folder of pictures per class"
    parser.add_argument("image_dir", metavar="IMAGE_DIR", nargs=nargs, help=text)


def _add_model_dir(parser: Parser) -> None:
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="model folder, made by retrain train")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the model's graph even if it has operations that can read or write files, start programs or call "
        "Python; it can then do anything that you can do on this machine",
    )


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
        if argv and argv[0].startswith("--") and argv[0].partition("=")[0] not in _OWN_OPTIONS:
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
