"""What the commands do: call the library, show progress, print results.

Each takes the parsed command line, and returns the exit code.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.arguments import EXIT_ERROR, options_from
from retrain.config import (
    AugmentationOptions,
    BackboneOptions,
    CrossValidationOptions,
    ExtractionOptions,
    ImageOptions,
    LabelOptions,
    RunOptions,
    SplitOptions,
)
from retrain.errors import ImageFolderError, Interrupted, UsageError

if TYPE_CHECKING:
    from retrain.console import Progress

__all__ = ["crossval", "evaluate", "extract", "inspect", "predict", "print_json", "train"]


_SHEET = "distortions.png"


def _run_options(args: argparse.Namespace) -> RunOptions:
    stages = [field for field in dataclasses.fields(RunOptions) if dataclasses.is_dataclass(field.default)]
    filled: dict[str, Any] = {field.name: options_from(type(field.default), args) for field in stages}
    return dataclasses.replace(options_from(RunOptions, args), **filled)


def train(args: argparse.Namespace) -> int:
    """Train on a folder, and say how it went."""
    options = _run_options(args)
    from retrain import console, run

    progress = console.Progress(args.quiet)
    try:
        model = run.train(args.image_dir, args.model_dir, options, _hooks(progress), args.command)
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        print_json(model.record)
        return 0
    print(console.describe_run(model.result, model.record, args.model_dir.rstrip("/") or "/"))
    if options.evaluation.print_misclassified:
        print(console.describe_misclassified(model.result.misclassified()))
    return 0


def crossval(args: argparse.Namespace) -> int:
    """Cross-validate, and say how it went."""
    folds, options = options_from(CrossValidationOptions, args), _run_options(args)
    from retrain import console
    from retrain.crossval import cross_validate

    progress = console.Progress(args.quiet)
    try:
        found = cross_validate(args.image_dir, folds, options, _hooks(progress))
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        print_json(found.as_dict())
    else:
        print(console.describe_cross_validation(found))
    return 0


def extract(args: argparse.Namespace) -> int:
    """Pass one alone, or its benchmark."""
    options = _run_options(args)
    if args.benchmark:
        if options.backbone.precision != BackboneOptions.precision:
            raise UsageError("--benchmark measures every precision: leave --precision out")
        return _benchmark(args, options)
    if args.image_dir is None:
        raise UsageError("IMAGE_DIR is missing: the folder with one sub-folder of pictures per class")
    from retrain import console, record, run
    from retrain.image_folder import display_path

    progress = console.Progress(args.quiet)
    try:
        extraction, cache = run.extract_folder(args.image_dir, options, _hooks(progress))
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    summary = {"backbone": cache.name} | record.extraction_summary(extraction)
    if args.json:
        print_json(summary)
        return 0
    for path, reason in extraction.skipped.items():
        print(f"skipped {display_path(path)}: {reason}")
    rate = "" if summary["pictures_per_second"] is None else f" at {summary['pictures_per_second']:.1f} pictures/s"
    print(
        f"{summary['pictures']} files: {summary['cached']} cached, {summary['extracted']} extracted{rate}, "
        f"{summary['skipped']} skipped; cache: {display_path(cache.folder)}"
    )
    return 0


def _benchmark(args: argparse.Namespace, options: RunOptions) -> int:
    from retrain import console, run

    progress = console.Progress(args.quiet)
    measured = run.benchmark(args.image_dir, options, _hooks(progress))
    if args.json:
        print_json(measured.as_dict())
    else:
        print(console.describe_benchmark(measured))
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Measure a model on a labelled folder."""
    extraction, images = options_from(ExtractionOptions, args), options_from(ImageOptions, args)
    from retrain import console, run
    from retrain.classifier import Classifier

    progress = console.Progress(args.quiet)
    try:
        evaluation = run.evaluate_folder(
            Classifier(args.model_dir), args.image_dir, extraction, images, _hooks(progress)
        )
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        print_json(evaluation.as_dict())
    else:
        print(console.describe_evaluation(evaluation))
    return 0


def predict(args: argparse.Namespace) -> int:
    """Classify pictures; 1 where one that was named can't be read."""
    images = options_from(ImageOptions, args)
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: must be at least 1")
    from retrain.classifier import Classifier, picture_files
    from retrain.expectations import expected_labels
    from retrain.image_folder import display_path

    classifier = Classifier(args.model_dir)
    expected = expected_labels(args.pictures, classifier.description) if args.wrong else {}
    strays = sum(label is None for label in expected.values())
    if strays:
        left_out = f"{strays} files are in no folder that is named like a class: left out"
        print(f"retrain: warning: {left_out}", file=sys.stderr)
    paths = (path for path, label in expected.items() if label) if args.wrong else picture_files(args.pictures)
    failed = right = 0
    answers: list[dict[str, Any]] = []
    for prediction in classifier.predict(paths, images.max_pixels):
        path, should = display_path(prediction.path), expected.get(prediction.path)
        if prediction.error is not None:
            was_named = prediction.path in args.pictures  # else it is litter in a folder, and no failure
            failed += was_named
            answers.append({"path": path, "error": prediction.error})
            print(f"retrain: {'error' if was_named else 'warning'}: {path}: {prediction.error}", file=sys.stderr)
            continue
        if should is not None and prediction.label == should:
            right += 1
            continue
        scores = dict(list(prediction.scores.items())[: args.top])
        answers.append({"path": path, "label": prediction.label, "score": prediction.score, "scores": scores})
        if should is not None:
            answers[-1]["expected"] = should
        if not args.json:
            shown = list(scores.items())[: 1 if args.wrong else None]
            line = f"{path}: " + ", ".join(f"{label} {score:.4f}" for label, score in shown)
            print(line + (f", expected {should}" if should is not None else ""), flush=True)
    if args.json:
        print_json(answers)
    elif args.wrong:
        wrong = sum("expected" in answer for answer in answers)
        print(f"{wrong} of {wrong + right} wrong")
    if not answers and not right:
        raise ImageFolderError(f"no files in {', '.join(map(display_path, args.pictures))}: nothing to classify")
    return EXIT_ERROR if failed else 0


def inspect(args: argparse.Namespace) -> int:
    """Tell what is in a folder."""
    images, split = options_from(ImageOptions, args), options_from(SplitOptions, args)
    augmentation = options_from(AugmentationOptions, args)
    if args.sheet and not augmentation.augment:
        raise UsageError("--sheet is a sheet of distorted copies: say how many, as in --augment 7 --flip")
    labels = options_from(LabelOptions, args)
    from retrain import console
    from retrain.contact_sheet import Example, check_place, write_sheet
    from retrain.image_folder import display_path
    from retrain.inspection import inspect_folder

    sheet = (args.sheet or _SHEET) if augmentation.augment else None
    if sheet:
        check_place(sheet)
    progress = console.Progress(args.quiet)
    try:
        inspection = inspect_folder(args.image_dir, images, split, labels, progress.on_inspection, progress.warn)
    finally:
        progress.close()
    if sheet:
        write_sheet(sheet, [Example(Path(path), label) for label, path in inspection.examples], augmentation, images)
    if args.json:
        found = inspection.as_dict(with_files=args.list)
        print_json(found | ({"sheet": display_path(sheet)} if sheet else {}))
        return 0
    if args.list:
        print("".join(f"{picture.set}\t{picture.label}\t{picture.path}\n" for picture in inspection.files))
    print(console.describe_inspection(inspection))
    if sheet:
        print(f"Distorted copies: {display_path(sheet)}")
    return 0


def _hooks(progress: "Progress") -> Any:
    from retrain.hooks import Hooks

    return Hooks(
        on_stage=progress.on_stage,
        on_warning=progress.warn,
        on_note=progress.say,
        on_preparation=progress.on_preparation,
        on_extraction=progress.on_extraction,
        on_fold=progress.on_fold,
        on_try=progress.on_try,
        on_training=progress.on_training,
        on_evaluation=progress.on_evaluation,
        on_fine_tuning=progress.on_fine_tuning,
        on_epoch=progress.on_epoch,
    )


def _interrupted(progress: "Progress") -> Interrupted:
    """What to say after Ctrl-C: how far it came, and that nothing is lost."""
    progress.close()
    done = progress.extraction
    if done is None:
        return Interrupted("interrupted before the first picture")
    what = f"{done.pictures} {'distorted copies' if done.counts_copies else 'pictures'}"
    if done.done < done.pictures:
        return Interrupted(
            f"interrupted after {done.done} of {what}, their bottlenecks are kept: the same command goes on from there"
        )
    return Interrupted(f"interrupted; the bottlenecks of all {what} are kept: the same command goes on from there")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
