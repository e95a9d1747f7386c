"""`retrain compare`: models beside each other, on the test pictures that they share."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retrain.cli.arguments import Commands, add_command, add_output_options
from retrain.cli.output import print_json, print_text
from retrain.paths import display_path
from retrain.text import counted, shown

if TYPE_CHECKING:
    from retrain.report import Comparison

__all__ = ["add_compare_command"]


def add_compare_command(commands: Commands) -> None:
    """Add `compare`."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        "compare models on the test pictures that they share, with McNemar's test",
        "  retrain compare model-a model-b\n  retrain compare model-a model-b --html comparison.html",
    )
    parser.add_argument("model_dirs", nargs="+", metavar="MODEL_DIR", help="model folders, two or more")
    parser.add_argument("--html", metavar="FILE", help="also write the comparison as a page")
    add_output_options(parser)


def _compare(args: argparse.Namespace) -> int:
    """Compare models, and show the table."""
    from retrain.pipeline.compare import compare, comparison_as_dict, write_comparison

    found = compare(args.model_dirs)
    if args.html is not None:
        write_comparison(found, args.html)
    if args.json:
        print_json(comparison_as_dict(found))
    else:
        print_text("\n".join(_lines(found)))
        if args.html is not None:
            print(f"Page: {display_path(args.html)}")
    return 0


def _lines(found: "Comparison") -> Iterator[str]:
    from retrain.cli.console.tables import table

    rows = []
    for run in found.runs:
        low, high = run.accuracy.interval
        loss = "-" if run.cross_entropy is None else f"{run.cross_entropy:.3f}"
        rows.append(
            (shown(run.name), f"{run.accuracy.value:.1%}", f"{low:.1%} to {high:.1%}", loss, run.backbone, run.made)
        )
    yield f"On {counted(found.n, 'shared test picture')}:"
    yield from table(["model", "accuracy", "95% interval", "own cross-entropy", "backbone", "made"], rows)
    yield ""
    yield from (
        f"{pair.sentence} (McNemar p = {pair.p_value:.3g}; right in one only: {pair.only_first} and {pair.only_second})"
        for pair in found.pairs
    )
    yield from found.notes
