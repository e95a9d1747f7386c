"""`retrain evaluate`: test a trained model on a labelled folder."""

import argparse

from retrain.cli.arguments import (
    Commands,
    add_command,
    add_image_dir,
    add_model_dir,
    add_options,
    add_output_options,
    options_from,
    source_from,
)
from retrain.cli.output import print_json, print_text
from retrain.options import ExtractionOptions, ImageOptions

__all__ = ["add_evaluate_command"]


def add_evaluate_command(commands: Commands) -> None:
    """Add `evaluate`."""
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "test a trained model on a folder with one sub-folder of pictures per class",
        "  retrain evaluate model other_pictures --output results",
    )
    add_model_dir(parser)
    add_image_dir(parser)
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="also write evaluation.json, confusion_matrix.csv, predictions.csv and skipped.csv to this folder",
    )
    add_options(parser, "pictures", ExtractionOptions, ImageOptions)
    add_output_options(parser)


def _evaluate(args: argparse.Namespace) -> int:
    """Test a model on a folder with known classes."""
    extraction, images = options_from(ExtractionOptions, args), options_from(ImageOptions, args)
    from retrain.cli.console.evaluation import describe_evaluation
    from retrain.cli.progress import resumable_progress
    from retrain.model import Classifier
    from retrain.pipeline.evaluate import evaluate as evaluate_folder
    from retrain.pipeline.outputs import check_evaluation_place, write_evaluation

    if args.output is not None:
        check_evaluation_place(args.output)
    with resumable_progress(args.quiet) as progress:
        evaluation = evaluate_folder(
            Classifier(args.model_dir, args.trust), source_from(args), extraction, images, progress.show
        )
    if args.output is not None:
        write_evaluation(evaluation, args.output)
    if args.json:
        print_json(evaluation.as_dict())
    else:
        print_text(describe_evaluation(evaluation, args.output))
    return 0
