"""`retrain train` and `retrain crossval`: train a model, or estimate how good one would be."""

import argparse
import os
from typing import TYPE_CHECKING

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
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    ClusterOptions,
    CrossValidationOptions,
    EvaluationOptions,
    ExtractionOptions,
    FineTuningOptions,
    ImageOptions,
    LabelOptions,
    ReportOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
    TuningOptions,
)

if TYPE_CHECKING:
    from retrain.pipeline.results import WrittenModel

__all__ = ["add_crossval_command", "add_train_command"]


def add_train_command(commands: Commands) -> None:
    """Add `train`."""
    parser = add_command(
        commands,
        "train",
        _train,
        "train a model on a folder of pictures, test it, and export it",
        "  retrain train flower_photos\n"
        "  retrain train flower_photos --augment 10 --flip --rotate 10 --model-dir flowers",
    )
    add_image_dir(parser)
    parser.add_argument("--model-dir", default="model", metavar="DIR", help="where to put the model (default: model)")
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "cluster", ClusterOptions)
    add_options(parser, "pictures", LabelOptions, SplitOptions, ImageOptions)
    add_options(parser, "distorted copies", AugmentationOptions)
    add_options(parser, "training", TrainingOptions, TuningOptions)
    add_options(parser, "fine-tuning", FineTuningOptions)
    add_options(parser, "results", EvaluationOptions, ReportOptions, RunOptions)
    add_output_options(parser)


def add_crossval_command(commands: Commands) -> None:
    """Add `crossval`."""
    parser = add_command(
        commands,
        "crossval",
        _crossval,
        "estimate how good a model would be, by cross-validation",
        "  retrain crossval flower_photos --folds 5",
    )
    add_image_dir(parser)
    add_options(parser, "cross-validation", CrossValidationOptions)
    add_options(parser, "backbone", BackboneOptions, ExtractionOptions)
    add_options(parser, "pictures", LabelOptions, ImageOptions)
    add_options(parser, "distorted copies", AugmentationOptions)
    add_options(parser, "training", TrainingOptions)
    add_output_options(parser)


def _train(args: argparse.Namespace) -> int:
    """Train a model on a folder of pictures, and show how good it is."""
    options = options_from(RunOptions, args)
    from retrain.cli.console.exports import describe_exports
    from retrain.cli.console.metrics import describe_misclassified
    from retrain.cli.console.training import describe_run
    from retrain.cli.progress import resumable_progress
    from retrain.pipeline.train import train_and_export

    with resumable_progress(args.quiet) as progress:
        model = train_and_export(source_from(args), args.model_dir, options, progress.show, args.command)
    if args.json:
        print_json(model.record)
    else:
        print_text(describe_run(model.result, model.record, args.model_dir, _example(model)))
        if options.evaluation.print_misclassified:
            print_text(describe_misclassified(model.result.misclassified()))
        if model.exports and model.exports.written:
            print_text(describe_exports(model.exports.written))
    if model.exports:
        model.exports.check(is_after_training=True)
    return 0


def _example(model: "WrittenModel") -> str:
    """The path of a picture to paste into a command; if possible, one that the model was not trained on."""
    from retrain.text import pasteable

    order = {"test": 0, "validation": 1, "train": 2}
    picture = min(model.result.pictures, key=lambda picture: order[picture.set])
    return pasteable(os.path.join(model.image_dir, picture.path))


def _crossval(args: argparse.Namespace) -> int:
    """Cross-validate, and show the result."""
    folds, options = options_from(CrossValidationOptions, args), options_from(RunOptions, args)
    from retrain.cli.console.cross_validation import describe_cross_validation
    from retrain.cli.progress import resumable_progress
    from retrain.pipeline.crossval import cross_validate

    with resumable_progress(args.quiet) as progress:
        found = cross_validate(source_from(args), folds, options, progress.show)
    if args.json:
        print_json(found.as_dict())
    else:
        print_text(describe_cross_validation(found))
    return 0
