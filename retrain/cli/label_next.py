"""`retrain label-next`: the unlabelled pictures whose labels would help most."""

import argparse
import os
import sys

from retrain.cli.arguments import (
    ONE_LABEL,
    Commands,
    add_command,
    add_image_dir,
    add_options,
    add_output_options,
    options_from,
    source_from,
)
from retrain.cli.output import print_json
from retrain.errors import UsageError
from retrain.options import BackboneOptions, ExtractionOptions, ImageOptions, LabellingOptions, LabelOptions, RunOptions
from retrain.paths import display_path
from retrain.text import counted, shown

__all__ = ["add_label_next_command"]


def add_label_next_command(commands: Commands) -> None:
    """Add `label-next`."""
    parser = add_command(
        commands,
        "label-next",
        _label_next,
        "list the unlabelled pictures whose labels would help most",
        "  retrain label-next flower_photos --unlabelled new_photos\n"
        "  retrain label-next --unlabelled new_photos                 # nothing is labelled yet\n"
        "  retrain label-next flower_photos --unlabelled new_photos --print0 | xargs -0 cp -t to_label",
    )
    add_image_dir(parser, nargs="?")
    parser.add_argument("--unlabelled", metavar="DIR", required=True, help="folder of pictures without labels")
    parser.add_argument(
        "--print0", action="store_true", help="print paths only, each with a zero byte after it, for xargs -0"
    )
    add_options(parser, "pictures to label", LabellingOptions)
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures and labels", ImageOptions, LabelOptions, omitted=ONE_LABEL)
    add_output_options(parser)


def _label_next(args: argparse.Namespace) -> int:
    """List pictures, one a line, with the reason after a tab."""
    if args.json and args.print0:
        raise UsageError("--json and --print0 are two forms of the output: leave one of them out")
    labelling, options = options_from(LabellingOptions, args), options_from(RunOptions, args)
    from retrain.cli.progress import resumable_progress
    from retrain.events import Noted
    from retrain.pipeline.label_next import label_next

    with resumable_progress(args.quiet) as progress:
        found = label_next(source_from(args), args.unlabelled, labelling, options, progress.show)
        labelled = f"{counted(found.labelled, 'labelled picture')} of {counted(len(found.labels), 'class')}"
        progress.show(
            Noted(
                f"{counted(len(found.pictures), 'picture')} of {found.unlabelled:,} to label next; "
                f"{labelled if found.labelled else 'nothing is labelled'} so far"
            )
        )
    if args.json:
        print_json(found.as_dict())
    elif args.print0:
        for picture in found.pictures:
            sys.stdout.buffer.write(os.fsencode(picture.path) + b"\0")
    else:
        for picture in found.pictures:
            print(f"{display_path(picture.path)}\t{shown(picture.reason)}")
    return 0
