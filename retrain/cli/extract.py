"""`retrain extract`: fill the cache, or measure how fast this machine does it."""

import argparse
import contextlib

from retrain.cli.arguments import Commands, add_command, add_image_dir, add_options, add_output_options, options_from
from retrain.cli.output import print_json, print_text
from retrain.errors import UsageError
from retrain.options import BackboneOptions, ExtractionOptions, ImageOptions, RunOptions

__all__ = ["add_extract_command"]


def add_extract_command(commands: Commands) -> None:
    """Add `extract`."""
    parser = add_command(
        commands,
        "extract",
        _extract,
        "only fill the bottleneck cache, or measure how fast this machine does it",
        "  retrain extract flower_photos\n  retrain extract --benchmark",
    )
    add_image_dir(parser, nargs="?")
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="instead, measure for about a minute how fast this machine is in each precision, on pictures of IMAGE_DIR "
        "if given, and recommend one",
    )
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures", ImageOptions)
    add_output_options(parser)


def _extract(args: argparse.Namespace) -> int:
    """Fill the cache, or measure how fast this machine does it."""
    options = options_from(RunOptions, args)
    if args.benchmark:
        if options.backbone.precision != BackboneOptions.precision:
            raise UsageError("--benchmark measures every precision: leave --precision out")
        return _benchmark(args, options)
    if args.image_dir is None:
        raise UsageError("IMAGE_DIR is missing: give the folder with one sub-folder of pictures per class")
    from retrain.cli import console
    from retrain.cli.progress import resumable_progress
    from retrain.paths import display_path
    from retrain.pipeline.extract import extract as extract_folder

    with resumable_progress(args.quiet) as progress:
        done = extract_folder(args.image_dir, options, progress.show)
    if args.json:
        print_json(done.as_dict())
    else:
        print_text(console.describe_extraction(done.extraction, display_path(done.cache.folder)))
    return 0


def _benchmark(args: argparse.Namespace, options: RunOptions) -> int:
    from retrain.backbones import catalogue
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.pipeline.benchmark import benchmark

    with contextlib.closing(Progress(args.quiet)) as progress:
        measured = benchmark(args.image_dir, options, progress.show)
    if options.backbone == BackboneOptions(backbone=options.backbone.backbone):  # no other size or weights
        catalogue.note_speed(measured.backbone, measured.precisions[0].backbone)
    if args.json:
        print_json(measured.as_dict())
    else:
        print_text(console.describe_benchmark(measured))
    return 0
