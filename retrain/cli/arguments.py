"""The parser: options of the option classes, short and full help, completion, paths, hints for misspelt options."""

import argparse
import dataclasses
import difflib
import functools
import os
import re
import types
import typing
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from retrain.errors import UsageError
from retrain.options import Manifest
from retrain.options.fields import flag_of
from retrain.text import counted, shown

__all__ = [
    "EXIT_ERROR",
    "EXIT_USAGE",
    "ONE_LABEL",
    "Commands",
    "Parser",
    "PrintCompletion",
    "add_command",
    "add_image_dir",
    "add_image_root",
    "add_log_options",
    "add_model_dir",
    "add_options",
    "add_output_options",
    "add_trust",
    "options_from",
    "source_from",
]

EXIT_ERROR, EXIT_USAGE = 1, 2

ONE_LABEL = ("multi_label",)  # fields of option classes that commands for pictures with one label omit

Options = TypeVar("Options")

Commands = Any  # what add_subparsers() returns; argparse has no public name for it

# Metavars of arguments that are paths. One with URL in it is a path or a URL.
_PATH = re.compile(r"(DIR|FILE|PICTURE)\b")
_WORTH_HIDING = 6  # options; fewer are shown at once

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """A parser whose --help shows the common options, and whose --help-all shows all of them.

    It takes no abbreviations, and suggests what a misspelt option may have meant. It expands ~ in arguments whose
    metavar says that they are paths, because shells don't do that in --option=~/folder.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.rare: set[str] = set()  # names of the options that only --help-all shows
        formatter = functools.partial(_Formatter, rare=self.rare)
        super().__init__(**kwargs, allow_abbrev=False, add_help=False, formatter_class=formatter)
        self.add_argument("-h", "--help", action="help", help="show this help")
        self._positionals.title = "arguments"
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all options")

    def format_help(self) -> str:
        """The help. If it leaves options out, its last line says so."""
        if len(self.rare) < _WORTH_HIDING:
            self.rare.clear()
        text = super().format_help().replace(self.prog, f"{self.prog} [options]", 1)
        return f"{text}\n{counted(len(self.rare), 'more option')}: {self.prog} --help-all\n" if self.rare else text

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments, then expand those that are paths."""
        parsed, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            if _PATH.search(str(action.metavar or "")):
                value = getattr(parsed, action.dest, None)
                if isinstance(value, str):
                    setattr(parsed, action.dest, self._path(value, action))
                elif isinstance(value, list):
                    setattr(parsed, action.dest, [self._path(word, action) for word in value])
        return parsed, rest

    def _path(self, text: str, action: argparse.Action) -> str:
        """A path with ~ expanded. If it is a URL and must not be one, exit with EXIT_USAGE."""
        if _URL.match(text) and "URL" not in str(action.metavar) and not os.path.lexists(text):
            name = action.option_strings[-1] if action.option_strings else action.metavar
            self.error(f"{name} {text} is a URL: download it first, and give its path on this machine")
        return os.path.expanduser(text)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong on stderr, in one line, and exit with EXIT_USAGE."""
        if message.startswith("unrecognized arguments: "):
            owners = {flag: parser.prog for parser in _all_parsers(self) for flag in parser._option_string_actions}
            for word in message.split()[2:]:
                near = difflib.get_close_matches(word.split("=")[0], sorted(owners), 1)
                if word.startswith("-") and near:
                    is_it = near[0] == word.split("=")[0]
                    message += f" (an option of {owners[near[0]]})" if is_it else f" (did you mean {near[0]}?)"
        self.exit(EXIT_USAGE, f"retrain: error: {shown(message)}; see {self.prog} --help\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Formats help without the rare options, and with a usage line of what is required only."""

    def __init__(self, prog: str, rare: set[str]) -> None:
        super().__init__(prog)
        self._rare = rare

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        needed = [action for action in actions if action.required or not action.option_strings]
        super().add_usage(usage, needed, groups, prefix)

    def add_argument(self, action: argparse.Action) -> None:
        if action.dest not in self._rare and (self._rare or action.dest != "help_all"):
            super().add_argument(action)


class _HelpAll(argparse.Action):
    """Print the help with all options, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the whole help of a parser."""
        if isinstance(parser, Parser):
            parser.rare.clear()
        parser.print_help()
        parser.exit()


class PrintCompletion(argparse.Action):
    """Print a script that completes commands, options and paths in a shell, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: Any, *__: object) -> None:
        """Print the script for a shell."""
        import shtab

        for command in _all_parsers(parser):
            for action in command._actions:
                kinds = _PATH.findall(str(action.metavar or ""))
                if kinds:
                    action.complete = shtab.DIRECTORY if set(kinds) == {"DIR"} else shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _all_parsers(command)


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int] | None, text: str, examples: str = ""
) -> Parser:
    """Add a command.

    Args:
        run: does the work and returns the exit code.
        text: what the command does, for the list of commands and its own help.
        examples: lines for the end of its help.
    """
    epilog = f"examples:\n{examples}" if examples else None
    added: Parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=epilog)
    if run is not None:
        added.set_defaults(run=run)
    return added


def add_image_dir(parser: Parser, nargs: str | None = None) -> None:
    """Add IMAGE_DIR and --image-root."""
    text = (
        "folder with one sub-folder of pictures per class, here or by URL (s3://bucket/photos; pip install "
        "'retrain[remote]'); or a .tar of WebDataset's form, or a folder of them; or a manifest: a .csv, .tsv, .jsonl "
        "or .json file that lists pictures with their labels"
    )
    parser.add_argument("image_dir", metavar="IMAGE_DIR|URL|FILE", nargs=nargs, help=text)
    add_image_root(parser)


def add_image_root(parser: Any) -> None:
    """Add --image-root to a parser, or a group of options."""
    parser.add_argument(
        "--image-root",
        metavar="URL|DIR",
        help="folder that the paths in a manifest are relative to, here or by URL (default: the manifest's own)",
    )


def source_from(args: argparse.Namespace) -> Any:
    """The image folder or manifest that a command was given; None if it was given none. Raises UsageError."""
    if args.image_root is None:
        return args.image_dir
    if args.image_dir is None:
        raise UsageError("--image-root is for the paths in a manifest, and none is given: name one, or leave it out")
    return Manifest(args.image_dir, args.image_root)


def add_model_dir(
    parser: Parser, nargs: str | None = None, text: str = "model folder that retrain train wrote"
) -> None:
    """Add MODEL_DIR and --trust."""
    parser.add_argument("model_dir", metavar="MODEL_DIR", nargs=nargs, help=text)
    add_trust(parser)


def add_trust(parser: Parser) -> None:
    """Add --trust."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the model's graph even if it has operations that can read or write files, start programs or call "
        "Python; such a model can do anything that you can do on this machine",
    )


def add_output_options(parser: Parser) -> None:
    """Add --json, --quiet and --verbose, which every command has that comes to a result."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the result as one JSON document")
    _add_log_options(group)


def add_log_options(parser: Parser) -> None:
    """Add --quiet and --verbose."""
    _add_log_options(parser.add_argument_group("output"))


def _add_log_options(group: Any) -> None:
    group.add_argument("--quiet", action="store_true", help="show no progress, only results, warnings and errors")
    group.add_argument("--verbose", action="store_true", help="show more details on stderr")


def add_options(parser: Parser, title: str, *stages: type, omitted: Container[str] = ()) -> None:
    """Add a group with an option for every field of some option classes, but for those that the parser has already.

    Args:
        omitted: names of fields that the command has no use for.
    """
    group = parser.add_argument_group(title)
    for options in stages:
        for field in dataclasses.fields(options):
            is_there = flag_of(field.name) in parser._option_string_actions
            if "help" in field.metadata and not is_there and field.name not in omitted:
                _add_option(group, field)
                if not field.metadata["common"]:
                    parser.rare.add(field.name)


def _add_option(group: Any, field: dataclasses.Field[Any]) -> None:
    flag, text = flag_of(field.name), field.metadata["help"].replace("%", "%%")
    if field.type is bool:
        group.add_argument(flag, action="store_true", help=text)
        return
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind = next(t for t in typing.get_args(kind) if t is not types.NoneType)
    if field.default is not None and "(default" not in text:
        text += f" (default: {field.default})"
    group.add_argument(
        flag,
        type=kind,
        default=field.default,
        choices=field.metadata["choices"],
        metavar=None if field.metadata["choices"] else field.metadata["metavar"],
        help=text,
    )


def options_from(options: type[Options], args: argparse.Namespace) -> Options:
    """An option class, and the option classes in it, with the values from the command line. Raises UsageError."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(field.default):
            values[field.name] = options_from(type(field.default), args)
        elif hasattr(args, field.name):
            values[field.name] = getattr(args, field.name)
    return options(**values)
