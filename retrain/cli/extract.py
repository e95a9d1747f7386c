"""`retrain extract`: fill the cache, write vectors for other programs, or measure how fast this machine is."""

import argparse
import contextlib
import os

from retrain.cli.arguments import (
    Commands,
    add_command,
    add_image_dir,
    add_options,
    add_output_options,
    options_from,
    source_from,
)
from retrain.cli.output import print_json, print_text
from retrain.errors import UsageError
from retrain.options import (
    BackboneOptions,
    ClusterOptions,
    ExtractionOptions,
    ImageOptions,
    LabelOptions,
    RunOptions,
    Shard,
    SplitOptions,
)

__all__ = ["add_extract_command"]


def add_extract_command(commands: Commands) -> None:
    """Add `extract`."""
    parser = add_command(
        commands,
        "extract",
        _extract,
        "only fill the bottleneck cache, write its vectors for other programs, or measure how fast this machine is",
        "  retrain extract flower_photos\n"
        "  retrain extract flower_photos --output vectors.parquet\n"
        "  retrain extract flower_photos --shard 3/16\n"
        "  retrain extract --benchmark",
    )
    add_image_dir(parser, nargs="?")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write path, label, set, key and vector of every picture to this file: .npz, .parquet (pip install "
        "'retrain[parquet]') or .h5",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="extract only part I of N (by a hash of each path), while other runs extract the others into the same "
        "cache, on this machine or on others",
    )
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="instead, measure for about a minute how fast this machine is in each precision, on pictures of IMAGE_DIR "
        "if given, and recommend one",
    )
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "cluster", ClusterOptions)
    add_options(parser, "pictures", ImageOptions)
    add_options(parser, "labels and sets in the file", LabelOptions, SplitOptions)
    add_output_options(parser)


def _extract(args: argparse.Namespace) -> int:
    """Fill the cache and write its vectors, or measure how fast this machine is."""
    options = options_from(RunOptions, args)
    # a manifest with several labels for a picture can't be read without --multi-label
    ignored = LabelOptions(multi_label=options.labels.multi_label), SplitOptions()
    if args.output is None and (options.labels, options.split) != ignored:
        raise UsageError("options of labels and sets have an effect on the file that --output names: add --output FILE")
    if args.benchmark:
        if args.output is not None:
            raise UsageError("--benchmark writes no vectors: leave --output out")
        if args.shard is not None:
            raise UsageError("--benchmark measures on a few pictures: leave --shard out")
        if options.cluster.ray is not None:
            raise UsageError("--benchmark measures this machine: leave --ray out")
        if options.backbone.precision != BackboneOptions.precision:
            raise UsageError("--benchmark measures every precision: leave --precision out")
        return _benchmark(args, options)
    if args.image_dir is None:
        raise UsageError(
            "IMAGE_DIR is missing: give the folder with one sub-folder of pictures per class, or a manifest"
        )
    shard = None if args.shard is None else Shard.parse(args.shard)
    from retrain.cli.console.extraction import describe_extraction
    from retrain.cli.progress import resumable_progress
    from retrain.pipeline.extract import extract as extract_folder

    with resumable_progress(args.quiet) as progress:
        done = extract_folder(source_from(args), options, progress.show, args.output, shard)
    if args.json:
        print_json(done.as_dict())
    else:
        print_text(describe_extraction(done))
    return 0


def _benchmark(args: argparse.Namespace, options: RunOptions) -> int:
    from retrain.backbones import catalogue
    from retrain.cli.console.extraction import describe_benchmark
    from retrain.cli.progress import Progress
    from retrain.pipeline.benchmark import benchmark

    with contextlib.closing(Progress(args.quiet)) as progress:
        measured = benchmark(source_from(args), options, progress.show)
    given = options.backbone.backbone
    is_file = given is not None and (
        os.sep in given or given.endswith(".onnx")
    )  # it may be called like another network
    if options.backbone == BackboneOptions(backbone=given) and not is_file:  # no other size or weights
        catalogue.note_speed(measured.backbone, measured.precisions[0].backbone)
    if args.json:
        print_json(measured.as_dict())
    else:
        print_text(describe_benchmark(measured))
    return 0
