"""The command line: it parses, runs a command, and turns errors into exit codes."""

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
from retrain.cli.arguments import EXIT_ERROR, EXIT_USAGE, Parser, PrintCompletion
from retrain.cli.backbones import add_backbones_commands
from retrain.cli.cache import add_cache_commands
from retrain.cli.compare import add_compare_command
from retrain.cli.evaluate import add_evaluate_command
from retrain.cli.export import add_export_command
from retrain.cli.extract import add_extract_command
from retrain.cli.inspect import add_inspect_command
from retrain.cli.label_next import add_label_next_command
from retrain.cli.output import log_to_stderr
from retrain.cli.predict import add_predict_command
from retrain.cli.report import add_report_command
from retrain.cli.serve import add_serve_command
from retrain.cli.studio import add_studio_command
from retrain.cli.train import add_crossval_command, add_train_command
from retrain.cli.watch import add_watch_command
from retrain.errors import Interrupted, RetrainError, UsageError
from retrain.interruption import EXIT_INTERRUPTED, tell
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
  retrain export model --format graph          files for other programs, each checked
  retrain report model                         what it gets wrong, and what is wrong with the pictures
  retrain serve model                          a page for pictures, and REST, at http://127.0.0.1:8000/
  retrain studio flower_photos                 a page to sort the pictures on, while the model follows

The options of TensorFlow's retrain.py work, too: retrain --image_dir flower_photos ..."""

# others are of the original program
_OWN_OPTIONS = ("--help", "--help-all", "--version", "--print-completion")


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
        help="print a script for shell completion of commands, options and paths",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_train_command(commands)
    add_watch_command(commands)
    add_crossval_command(commands)
    add_predict_command(commands)
    add_evaluate_command(commands)
    add_export_command(commands)
    add_report_command(commands)
    add_compare_command(commands)
    add_serve_command(commands)
    add_studio_command(commands)
    add_inspect_command(commands)
    add_extract_command(commands)
    add_label_next_command(commands)
    add_backbones_commands(commands)
    add_cache_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code: 0, 1 for errors, 2 for wrong usage, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _tensorflow.prepare_process()
    warnings.simplefilter("ignore")  # of libraries, meant for developers
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
        sys.stdout.flush()  # here, so that a full disk or a closed pipe gives a message
        return code
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    except Interrupted as error:
        return _fail(error, EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except RetrainError as error:
        return _fail(error, EXIT_ERROR)
    except ModuleNotFoundError as error:  # where only what `predict` needs is installed
        return _fail(f"this needs the package {error.name}, which is not installed: pip install retrain", EXIT_ERROR)
    except BrokenPipeError:  # the reader of our output has ended, as with `head`
        _forget_output()
        return EXIT_ERROR
    except OSError as error:
        _forget_output()
        where = f": {display_path(error.filename)}" if error.filename else " (writing the output?)"
        return _fail(f"{error.strerror or error}{where}", EXIT_ERROR)


@contextlib.contextmanager
def _downloads_shown(quiet: bool) -> Iterator[None]:
    from retrain.backbones import listening
    from retrain.cli.progress import DownloadProgress

    with listening(DownloadProgress(quiet)):
        yield


def _allow_files() -> None:
    """Allow as many open files as the system does: every segment of the cache takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _forget_output() -> None:
    """Drop output that could not be written; otherwise Python would try again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: object, code: int) -> int:
    message = shown(" ".join(str(error).split()))
    tell(f"retrain: error: {message}")
    return code
