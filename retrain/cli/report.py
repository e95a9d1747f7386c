"""`retrain report`: what a model gets wrong, and what is wrong with its pictures."""

import argparse
import sys
from typing import TYPE_CHECKING

from retrain.cli.arguments import Commands, add_command, add_image_root, add_model_dir, add_output_options, source_from
from retrain.cli.output import print_json, print_text
from retrain.errors import UsageError
from retrain.paths import display_path
from retrain.text import counted, listed_lines, pasteable

if TYPE_CHECKING:
    from retrain.pipeline.moving import Moves
    from retrain.pipeline.report import WrittenReport

__all__ = ["add_report_command"]

_MOST_SHOWN = 5  # groups of a finding


def add_report_command(commands: Commands) -> None:
    """Add `report`."""
    parser = add_command(
        commands,
        "report",
        _report,
        "write report.html: how good a model is, what it gets wrong, and what is wrong with the pictures",
        "  retrain report model\n  retrain report model --move-suspects suspects\n"
        "  retrain report --undo suspects/moved-20260101-120000.json",
    )
    add_model_dir(parser, nargs="?")
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--image-dir",
        metavar="DIR|FILE",
        help="where the pictures are now, or a manifest (default: what the model was trained on)",
    )
    add_image_root(group)
    group.add_argument(
        "--cache-dir", metavar="DIR", help="folder of the bottleneck cache (default: that of the training)"
    )
    group.add_argument(
        "--move-suspects",
        metavar="DIR",
        help="move the pictures whose label may be wrong to this folder; asks first, and writes a list for --undo",
    )
    group.add_argument("--yes", action="store_true", help="move without asking")
    group.add_argument("--undo", metavar="FILE", help="move the pictures of such a list back to where they were")
    add_output_options(parser)


def _report(args: argparse.Namespace) -> int:
    """Make the report, and show what it found."""
    if args.undo is not None:
        return _undo(args)
    if args.model_dir is None:
        raise UsageError("report takes a model folder, as in retrain report model, or --undo FILE")
    if args.move_suspects is not None and not args.yes and not sys.stdin.isatty():
        raise UsageError("--move-suspects asks before it moves pictures, and there is no terminal to ask: add --yes")
    from retrain.cli.progress import resumable_progress
    from retrain.model import Classifier
    from retrain.pipeline.report import write_report

    source = source_from(args)
    with resumable_progress(args.quiet) as progress:
        made = write_report(Classifier(args.model_dir, args.trust), source, args.cache_dir, progress.show)
    if args.json:
        print_json(made.as_dict())
    else:
        print_text("\n".join(_lines(made)))
    return 0 if args.move_suspects is None else _move_suspects(made, args)


def _lines(made: "WrittenReport") -> list[str]:
    """What the report found, in short."""
    from retrain.report import Absent, LabelReport

    report = made.report
    lines = [report.headline.sentence, *report.headline.notes, ""]
    for found in report.findings:
        if isinstance(found, Absent):
            lines.append(found.reason)
        elif found.total:
            lines.append(f"{found.title}: {found.sentence}")
            lines += listed_lines(found.paths or [group.text for group in found.groups], "in the report", _MOST_SHOWN)
    if not isinstance(report, LabelReport):
        lines.append("" if isinstance(report.learning, Absent) else report.learning.sentence)
    lines.append(f"Report: {display_path(made.path)}")
    return lines


def _move_suspects(made: "WrittenReport", args: argparse.Namespace) -> int:
    from retrain.pipeline.moving import move, plan_moves
    from retrain.report import Absent, LabelReport

    if isinstance(made.report, LabelReport):
        raise UsageError("--move-suspects finds wrong labels of pictures with one label each: leave it out")
    found = (found for found in made.report.findings if not isinstance(found, Absent) and found.name == "suspects")
    paths = [path for finding in found for path in finding.paths]
    if not paths:
        print("No suspects to move", file=sys.stderr)
        return 0
    moves = plan_moves(paths, made.image_dir, args.move_suspects)
    if not args.yes and not _confirmed(moves):
        print("Nothing was moved", file=sys.stderr)
        return 0
    listed = move(moves)
    print(f"Moved {counted(len(paths), 'picture')} to {display_path(moves.folder)}", file=sys.stderr)
    print(f"To undo: retrain report --undo {pasteable(listed)}", file=sys.stderr)
    return 0


def _confirmed(moves: "Moves") -> bool:
    print(
        f"Move {counted(len(moves.pairs), 'picture')} to {display_path(moves.folder)}? [y/N] ", end="", file=sys.stderr
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _undo(args: argparse.Namespace) -> int:
    from retrain.pipeline.moving import undo

    done = undo(args.undo)
    if args.json:
        print_json({"moved_back": done})
    else:
        print(f"Moved {counted(done, 'picture')} back")
    return 0
