"""Write the tables of options in docs/cli.md from the parser: `make docs`. A test checks that they are up to date."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from retrain.cli.main import build_parser

PAGE = Path(__file__).resolve().parent / "cli.md"
START, END = "<!-- options: written by docs/generate.py -->", "<!-- end of options -->"


def rows(command: argparse.ArgumentParser) -> list[str]:
    """A table row for every argument of a command."""
    found = []
    for action in command._actions:
        if action.dest in ("help", "help_all") or isinstance(action, argparse._SubParsersAction):
            continue
        name = action.option_strings[-1] if action.option_strings else str(action.metavar)
        if action.option_strings and action.nargs != 0:
            name += f" {action.metavar or '|'.join(map(str, action.choices or ()))}"
        text = str(action.help).replace("%%", "%")
        found.append(f"`{name}` | {text}".replace("|", "\\|").replace(" \\| ", " | ", 1))
    return [f"| {row} |" for row in found]


def commands_of(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands of a parser that do something, with their names: "train", ..., "cache info", ..."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                if command.get_default("run"):  # `cache` alone does nothing
                    yield prefix + name, command
                yield from commands_of(command, f"{prefix}{name} ")


def tables() -> str:
    """The tables of all commands, as Markdown."""
    parts = []
    seen: set[str] = set()
    for name, command in commands_of(build_parser()):
        lines = rows(command)
        new = [line for line in lines if line not in seen]
        known = [line.split("`")[1].split(" ")[0] for line in lines if line in seen]
        seen |= set(lines)
        parts.append(f"## `retrain {name}`\n\n{command.description}")
        if new:
            parts.append("\n".join(["| option | meaning |", "|---|---|", *new]))
        if known:
            parts.append("As above: " + ", ".join(f"`{option}`" for option in known) + ".")
    return "\n\n".join(parts)


def updated(page: str) -> str:
    """The page with the tables as they should be."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
