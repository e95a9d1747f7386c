"""`retrain export`: files of a trained model for other programs."""

import argparse

from retrain.cli.arguments import Commands, add_command, add_model_dir, add_options, add_output_options, options_from
from retrain.cli.output import print_json, print_text
from retrain.errors import UsageError
from retrain.options import EXPORT_FORMATS, ExportOptions, parse_formats

__all__ = ["add_export_command"]


def add_export_command(commands: Commands) -> None:
    """Add `export`."""
    parser = add_command(
        commands,
        "export",
        _export,
        "write a model for other programs, and check each file with the runtime that loads it",
        "  retrain export model --format onnx\n  retrain export model --format tflite,openvino --output phone\n"
        "  retrain export --list",
    )
    add_model_dir(parser, nargs="?")
    group = parser.add_argument_group("exports")
    group.add_argument(
        "--format", metavar="FORMAT", help=f"one or several, separated by commas: {', '.join(EXPORT_FORMATS)}"
    )
    group.add_argument(
        "--output",
        metavar="DIR",
        help="where to put the export; with several formats, a folder for each goes there (default: exports/FORMAT in "
        "MODEL_DIR, which goes when the model is replaced)",
    )
    group.add_argument("--list", action="store_true", help="instead, show what formats there are and what each needs")
    add_options(parser, "check", ExportOptions)
    add_output_options(parser)


def _export(args: argparse.Namespace) -> int:
    """Export a model, and show what came of each format."""
    if args.list:
        return _list(args)
    if args.model_dir is None or args.format is None:
        raise UsageError("export takes a model folder and a format, as in retrain export model --format graph")
    names, options = parse_formats(args.format), options_from(ExportOptions, args)
    from retrain.cli.console.exports import describe_exports
    from retrain.cli.progress import resumable_progress
    from retrain.model import Classifier
    from retrain.pipeline.export import export_formats

    with resumable_progress(args.quiet) as progress:
        exports = export_formats(Classifier(args.model_dir, args.trust), names, args.output, options, progress.show)
    if args.json:
        print_json(exports.as_dict())
    elif exports.written:
        print_text(describe_exports(exports.written))
    exports.check()
    return 0


def _list(args: argparse.Namespace) -> int:
    from retrain.cli.console.exports import describe_formats
    from retrain.pipeline.export import list_formats

    formats = list_formats()
    if args.json:
        print_json(formats)
    else:
        print_text(describe_formats(formats))
    return 0
