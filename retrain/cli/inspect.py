"""`retrain inspect`: check a folder of pictures before training on it."""

import argparse
import contextlib
import os
from pathlib import Path

from retrain.cli.arguments import (
    Commands,
    add_command,
    add_image_dir,
    add_options,
    add_output_options,
    options_from,
    source_from,
)
from retrain.cli.output import print_json, print_text, print_warning
from retrain.errors import UsageError
from retrain.options import AugmentationOptions, ImageOptions, LabelOptions, SplitOptions
from retrain.text import shown

__all__ = ["add_inspect_command"]

_SHEET = "distortions.png"


def add_inspect_command(commands: Commands) -> None:
    """Add `inspect`."""
    parser = add_command(
        commands,
        "inspect",
        _inspect,
        "check a folder of pictures before training on it",
        "  retrain inspect flower_photos\n  retrain inspect flower_photos --augment 7 --flip --sheet copies.png",
    )
    add_image_dir(parser)
    text = "also print a line for each picture, with its set, label and path, separated by tabs"
    parser.add_argument("--list", action="store_true", help=text)
    parser.add_argument(
        "--sheet",
        metavar="FILE",
        help="with --augment, write this PNG: a training picture of each class (at most 8) and its copies (at most 7) "
        "(default: distortions.png)",
    )
    add_options(parser, "pictures", LabelOptions, SplitOptions, ImageOptions)
    add_options(parser, "distorted copies", AugmentationOptions)
    add_output_options(parser)


def _inspect(args: argparse.Namespace) -> int:
    """Show what is in a folder."""
    images, split = options_from(ImageOptions, args), options_from(SplitOptions, args)
    augmentation = options_from(AugmentationOptions, args)
    if args.sheet and not augmentation.augment:
        raise UsageError("--sheet is a sheet of distorted copies: say how many, as in --augment 7 --flip")
    labels = options_from(LabelOptions, args)
    from retrain.cli.console.inspection import describe_inspection
    from retrain.cli.progress import Progress
    from retrain.data import inspect_folder
    from retrain.paths import display_path, utf8_path
    from retrain.report import Example, check_place, write_sheet

    sheet = (args.sheet or _SHEET) if augmentation.augment else None
    if sheet:
        check_place(sheet)
        _warn_of_place(sheet, args.image_dir)
    with contextlib.closing(Progress(args.quiet)) as progress:
        inspection = inspect_folder(source_from(args), images, split, labels, progress.show)
    if sheet:
        write_sheet(sheet, [Example(Path(path), label) for label, path in inspection.examples], augmentation, images)
    if args.json:
        found = inspection.as_dict(with_files=args.list)
        print_json(found | ({"sheet": utf8_path(sheet)} if sheet else {}))
        return 0
    if args.list:
        for picture in inspection.files:
            print("\t".join(map(shown, (picture.set, picture.label, picture.path))))
        print()
    print_text(describe_inspection(inspection))
    if sheet:
        print(f"Distorted copies: {display_path(sheet)}")
    return 0


def _warn_of_place(sheet: str, image_dir: str) -> None:
    """Warn of a sheet that will lie among the pictures, where training may take it for one."""
    from retrain.paths import display_path

    # unlike Path.resolve(), realpath() takes links in a circle, which are met later on
    if Path(os.path.realpath(image_dir)) in Path(os.path.realpath(sheet)).parents:
        print_warning(
            f"{display_path(sheet)} will lie in the folder of pictures: move it away before you train, or choose "
            "another place with --sheet FILE"
        )
