"""`retrain serve`: answer requests over HTTP, and show a page for pictures."""

import argparse
import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from retrain.cli.arguments import Commands, add_command, add_log_options, add_options, add_trust, options_from
from retrain.errors import MissingPackageError, UsageError
from retrain.options import ServingOptions
from retrain.paths import display_path
from retrain.text import shown

__all__ = ["add_serve_command", "serving_packages"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_EXTRA = frozenset({"fastapi", "uvicorn", "starlette", "pydantic", "prometheus_client", "python_multipart", "h11"})


def add_serve_command(commands: Commands) -> None:
    """Add `serve`."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        "serve models over HTTP: a page for pictures, and REST as TensorFlow Serving and Triton speak it",
        "  retrain serve model\n  retrain serve flowers=model-a animals=model-b --port 9000",
    )
    text = "model folder that retrain train wrote, and the name that clients know it by (default: the folder's)"
    parser.add_argument("models", nargs="+", metavar="[NAME=]MODEL_DIR", help=text)
    add_trust(parser)
    add_options(parser, "serving", ServingOptions)
    add_log_options(parser)


def _serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    options, folders = options_from(ServingOptions, args), _folders(args.models)
    from retrain.cli.progress import Progress

    with serving_packages("serving", "serve"):
        from retrain.serving import Server
    logging.getLogger("retrain.serving").setLevel(logging.ERROR)  # what nobody foresaw is told with its traceback
    progress = Progress(args.quiet)
    server = Server(folders, options, args.trust, progress.show)
    for event in server.greeting():
        progress.show(event)
    server.run()
    progress.show(server.farewell())
    return 0


@contextlib.contextmanager
def serving_packages(what: str, extra: str) -> Iterator[None]:
    """Say which package is missing for what, if an import in the block fails. Raises MissingPackageError.

    Args:
        extra: that has the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise MissingPackageError(
            f"{what} needs the package {error.name}, which is not installed: pip install 'retrain[{extra}]'"
        ) from error


def _folders(words: list[str]) -> dict[str, Path]:
    """Name -> model folder. Raises UsageError."""
    folders: dict[str, Path] = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals or not _NAME.fullmatch(name):
            place = word
            name = os.path.basename(os.path.abspath(word))
            if not _NAME.fullmatch(name):
                raise UsageError(
                    f"the folder {display_path(word)} has a name that can't be in a URL: give the model another, as in "
                    f"flowers={shown(word)}"
                )
        if name in folders:
            raise UsageError(
                f"two models are called {name}: name one of them otherwise, as in {name}-2={display_path(place)}"
            )
        folders[name] = Path(os.path.expanduser(place))
    return folders
