"""What the commands do: call the library, show progress, print results.

Each takes the parsed command line, and returns the exit code.
"""

import argparse
import dataclasses
import itertools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.cli.arguments import EXIT_ERROR, options_from
from retrain.errors import ImageFolderError, Interrupted, UsageError
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    CrossValidationOptions,
    ExtractionOptions,
    ImageOptions,
    LabelOptions,
    RunOptions,
    SplitOptions,
)
from retrain.text import counted, listing, shown, shown_json

if TYPE_CHECKING:
    from retrain.cli.progress import Progress
    from retrain.model.classifier import PictureBytes, Prediction
    from retrain.pipeline.results import WrittenModel

__all__ = ["crossval", "evaluate", "extract", "inspect", "predict", "print_json", "train"]


_SHEET = "distortions.png"
_MOST_SCORES = 5  # of a picture, on its line


def _run_options(args: argparse.Namespace) -> RunOptions:
    stages = [field for field in dataclasses.fields(RunOptions) if dataclasses.is_dataclass(field.default)]
    filled: dict[str, Any] = {field.name: options_from(type(field.default), args) for field in stages}
    return dataclasses.replace(options_from(RunOptions, args), **filled)


def train(args: argparse.Namespace) -> int:
    """Train on a folder, and say how it went."""
    options = _run_options(args)
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.pipeline.train import train as train_folder

    progress = Progress(args.quiet)
    try:
        model = train_folder(args.image_dir, args.model_dir, options, progress.show, args.command)
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        print_json(model.record)
        return 0
    _print(console.describe_run(model.result, model.record, args.model_dir, _example(model)))
    if options.evaluation.print_misclassified:
        _print(console.describe_misclassified(model.result.misclassified()))
    return 0


def _example(model: "WrittenModel") -> str:
    """The path of a picture that the model was not trained on, where there is one, to be pasted into a command."""
    from retrain.text import pasteable

    order = {"test": 0, "validation": 1, "train": 2}
    picture = min(model.result.pictures, key=lambda picture: order[picture.set])
    return pasteable(os.path.join(model.image_dir, picture.path))


def crossval(args: argparse.Namespace) -> int:
    """Cross-validate, and say how it went."""
    folds, options = options_from(CrossValidationOptions, args), _run_options(args)
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.pipeline.crossval import cross_validate

    progress = Progress(args.quiet)
    try:
        found = cross_validate(args.image_dir, folds, options, progress.show)
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        print_json(found.as_dict())
    else:
        _print(console.describe_cross_validation(found))
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
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.paths import display_path
    from retrain.pipeline.extract import extract as extract_folder

    progress = Progress(args.quiet)
    try:
        done = extract_folder(args.image_dir, options, progress.show)
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.json:
        print_json(done.as_dict())
    else:
        _print(console.describe_extraction(done.extraction, display_path(done.cache.folder)))
    return 0


def _benchmark(args: argparse.Namespace, options: RunOptions) -> int:
    from retrain.backbones import catalogue
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.pipeline.benchmark import benchmark

    progress = Progress(args.quiet)
    try:
        measured = benchmark(args.image_dir, options, progress.show)
    finally:
        progress.close()
    if options.backbone == BackboneOptions(backbone=options.backbone.backbone):  # no other size or weights
        catalogue.note_speed(measured.backbone, measured.precisions[0].backbone)
    if args.json:
        print_json(measured.as_dict())
    else:
        _print(console.describe_benchmark(measured))
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Measure a model on a labelled folder."""
    extraction, images = options_from(ExtractionOptions, args), options_from(ImageOptions, args)
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.model.classifier import Classifier
    from retrain.pipeline.evaluate import evaluate as evaluate_folder
    from retrain.pipeline.outputs import check_evaluation_place, write_evaluation

    if args.output is not None:
        check_evaluation_place(args.output)
    progress = Progress(args.quiet)
    try:
        evaluation = evaluate_folder(
            Classifier(args.model_dir, args.trust), args.image_dir, extraction, images, progress.show
        )
    except KeyboardInterrupt:
        raise _interrupted(progress) from None
    finally:
        progress.close()
    if args.output is not None:
        write_evaluation(evaluation, args.output)
    if args.json:
        print_json(evaluation.as_dict())
    else:
        _print(console.describe_evaluation(evaluation, args.output))
    return 0


def predict(args: argparse.Namespace) -> int:
    """Classify pictures; 1 where one that was named can't be read."""
    images = options_from(ImageOptions, args)
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: must be at least 1")
    _check_standard_input(args)
    from retrain.data.folder_walk import picture_files
    from retrain.data.labels import expected_labels
    from retrain.model.classifier import Classifier, Prediction
    from retrain.paths import display_path

    classifier = Classifier(args.model_dir, args.trust)
    expected = expected_labels(args.pictures, classifier.description.class_names) if args.wrong else {}
    strays = sum(label is None for label in expected.values())
    if strays:
        _warn(f"{counted(strays, 'file', 'is/are')} in no folder that is named like a class: left out")
    found = [*picture_files(args.pictures)]
    unread = [Prediction(path, None, None, {}, problem) for path, problem in found if problem is not None]
    paths = [path for path, problem in found if problem is None and (not args.wrong or expected.get(path))]
    failed = right = 0
    answers: list[dict[str, Any]] = []
    predictions = classifier.predict(
        (_picture(path, images) for path in paths), images.max_pixels, images.max_file_size
    )
    for prediction in itertools.chain(unread, predictions):
        should = expected.get(prediction.path)
        if prediction.error is not None:
            was_named = prediction.path in args.pictures  # else it is litter in a folder, and no failure
            failed += was_named
            what = f"{display_path(prediction.path)}: {shown(prediction.error)}"
            print(f"retrain: {'error' if was_named else 'warning'}: {what}", file=sys.stderr)
        elif should is not None and prediction.label == should:
            right += 1
            continue
        elif not args.json:
            print(_answer_line(prediction, should, 1 if args.wrong else args.top or _MOST_SCORES), flush=True)
        answers.append(_answer(prediction, should, args.top))
    if args.json:
        print_json(answers)
    elif args.wrong:
        wrong = sum("expected" in answer for answer in answers)
        print(f"{wrong} of {wrong + right} wrong")
    if not answers and not right:
        raise ImageFolderError(f"no files in {listing(map(display_path, args.pictures))}: nothing to classify")
    return EXIT_ERROR if failed else 0


def _check_standard_input(args: argparse.Namespace) -> None:
    """Refuse what can't be meant by the picture - (standard input). Raises UsageError."""
    if "-" not in args.pictures:
        return
    if args.wrong:
        raise UsageError("--wrong needs pictures in folders of classes, and - is standard input: leave one of them out")
    if args.pictures.count("-") > 1:
        raise UsageError("- is given twice, and standard input holds one picture: give it once")
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("- reads a picture from standard input: pipe one in, as in retrain predict model - < a.jpg")


def _picture(path: str, images: ImageOptions) -> "str | PictureBytes":
    """A picture to predict; what comes from standard input where the path is -."""
    from retrain.model.classifier import PictureBytes

    if path != "-":
        return path
    most = images.max_file_size * 2**20
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise UsageError(f"standard input is larger than --max-file-size {images.max_file_size} MiB: give one picture")
    return PictureBytes(path, data)


def _answer(prediction: "Prediction", should: str | None, most: int | None) -> dict[str, Any]:
    """What --json has of a picture."""
    from retrain.paths import utf8_path

    answer: dict[str, Any] = {"path": utf8_path(prediction.path)}
    if prediction.error is not None:
        return answer | {"error": prediction.error}
    scores = dict(list(prediction.scores.items())[:most])
    answer |= {"label": prediction.label, "score": prediction.score, "scores": scores}
    return answer | ({} if should is None else {"expected": should})


def _answer_line(prediction: "Prediction", should: str | None, most: int) -> str:
    """What a person sees of a picture."""
    from retrain.paths import display_path

    scores = (f"{shown(label)} {score:.4f}" for label, score in list(prediction.scores.items())[:most])
    expected = "" if should is None else f", expected {shown(should)}"
    return f"{display_path(prediction.path)}: {', '.join(scores)}{expected}"


def inspect(args: argparse.Namespace) -> int:
    """Tell what is in a folder."""
    images, split = options_from(ImageOptions, args), options_from(SplitOptions, args)
    augmentation = options_from(AugmentationOptions, args)
    if args.sheet and not augmentation.augment:
        raise UsageError("--sheet is a sheet of distorted copies: say how many, as in --augment 7 --flip")
    labels = options_from(LabelOptions, args)
    from retrain.cli import console
    from retrain.cli.progress import Progress
    from retrain.data.inspection import inspect_folder
    from retrain.paths import display_path, utf8_path
    from retrain.report.contact_sheet import Example, check_place, write_sheet

    sheet = (args.sheet or _SHEET) if augmentation.augment else None
    if sheet:
        check_place(sheet)
    progress = Progress(args.quiet)
    try:
        inspection = inspect_folder(args.image_dir, images, split, labels, progress.show)
    finally:
        progress.close()
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
    _print(console.describe_inspection(inspection))
    if sheet:
        print(f"Distorted copies: {display_path(sheet)}")
    return 0


def _interrupted(progress: "Progress") -> Interrupted:
    """What to say after Ctrl-C: how far it came, and that nothing is lost."""
    progress.close()
    done = progress.extraction
    if done is None:
        return Interrupted("interrupted before the first picture")
    what = counted(done.pictures, "distorted copy" if done.counts_copies else "picture")
    if done.done < done.pictures:
        return Interrupted(
            f"interrupted after {done.done:,} of {what}; what is done is kept: the same command goes on from there"
        )
    if progress.epoch:
        return Interrupted(
            f"interrupted after epoch {progress.epoch} of fine-tuning; finished epochs are kept: the same command "
            "goes on from there"
        )
    return Interrupted(f"interrupted; the bottlenecks of all {what} are kept: the same command goes on from there")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(shown_json(json.dumps(value, indent=2, ensure_ascii=False)))


def _warn(message: str) -> None:
    print(f"retrain: warning: {shown(message)}", file=sys.stderr)


def _print(text: str) -> None:
    """Print lines, of which a terminal obeys nothing but their ends."""
    print(shown(text, keep="\n"))
