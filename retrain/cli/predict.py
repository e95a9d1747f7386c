"""`retrain predict`: classify pictures with a trained model."""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from retrain.cli.arguments import (
    EXIT_ERROR,
    Commands,
    add_command,
    add_model_dir,
    add_options,
    add_output_options,
    options_from,
)
from retrain.cli.output import print_json, print_warning
from retrain.errors import ImageFolderError, UsageError
from retrain.options import ImageOptions, PredictionOptions
from retrain.paths import display_path, utf8_path
from retrain.text import counted, listing, shown

if TYPE_CHECKING:
    from retrain.model import Classifier, PictureBytes, Prediction

__all__ = ["add_predict_command"]

_MOST_SCORES = 5  # of a picture, on its line


def add_predict_command(commands: Commands) -> None:
    """Add `predict`."""
    parser = add_command(
        commands,
        "predict",
        _predict,
        "classify pictures with a trained model",
        "  retrain predict model rose.jpg\n  retrain predict model flower_photos --wrong",
    )
    add_model_dir(parser)
    text = "picture files, or folders of them; - reads a picture from standard input"
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=text)
    add_options(parser, "predictions", PredictionOptions)
    add_options(parser, "pictures", ImageOptions)
    add_output_options(parser)


def _predict(args: argparse.Namespace) -> int:
    """Classify pictures. The exit code is 1 if one that was named can't be read."""
    wanted, images = options_from(PredictionOptions, args), options_from(ImageOptions, args)
    _check_standard_input(args.pictures, wanted)
    from retrain.data import expected_labels, picture_files
    from retrain.model import Classifier, Prediction

    classifier = Classifier(args.model_dir, args.trust)
    explain = _explainer(classifier, wanted, images)
    expected = expected_labels(args.pictures, classifier.description.class_names) if wanted.wrong else {}
    strays = sum(label is None for label in expected.values())
    if strays:
        print_warning(f"{counted(strays, 'file', 'is/are')} in no folder that is named like a class: left out")
    found = [*picture_files(args.pictures)]
    unread = [Prediction(path, None, None, {}, problem) for path, problem in found if problem is not None]
    paths = [path for path, problem in found if problem is None and (not wanted.wrong or expected.get(path))]
    failed = right = 0
    answers: list[dict[str, Any]] = []
    predictions = classifier.predict(
        (_picture(path, images) for path in paths), images.max_pixels, images.max_file_size
    )
    for prediction in itertools.chain(unread, predictions):
        should = expected.get(prediction.path)
        if prediction.error is not None:
            was_named = prediction.path in args.pictures  # otherwise it is a stray file in a folder, and no failure
            failed += was_named
            what = f"{display_path(prediction.path)}: {shown(prediction.error)}"
            print(f"retrain: {'error' if was_named else 'warning'}: {what}", file=sys.stderr)
        elif should is not None and prediction.label == should:
            right += 1
            continue
        heat_map = None if prediction.error is not None else explain(prediction)
        if prediction.error is None and not args.json:
            line = _answer_line(prediction, should, 1 if wanted.wrong else wanted.top or _MOST_SCORES)
            print(line if heat_map is None else f"{line} ({display_path(heat_map)})", flush=True)
        answers.append(_answer(prediction, should, wanted.top, heat_map))
    if args.json:
        print_json(answers)
    elif wanted.wrong:
        wrong = sum("expected" in answer for answer in answers)
        print(f"{wrong} of {wrong + right} wrong")
    if not answers and not right:
        raise ImageFolderError(f"no files in {listing(map(display_path, args.pictures))}: nothing to classify")
    return EXIT_ERROR if failed else 0


def _explainer(
    classifier: "Classifier", wanted: PredictionOptions, images: ImageOptions
) -> "Callable[[Prediction], str | None]":
    """What writes the heat map of a prediction, and gives its path; None if none is asked for."""
    if wanted.explain is None:
        return lambda prediction: None
    from retrain.pipeline.explain import Explainer

    explainer = Explainer(classifier, wanted.explain, images)
    return lambda prediction: explainer.write(prediction.path, str(prediction.label))


def _check_standard_input(pictures: Sequence[str], wanted: PredictionOptions) -> None:
    """Refuse a picture - (standard input) that can't be read. Raises UsageError."""
    if "-" not in pictures:
        return
    if wanted.explain is not None:
        raise UsageError("--explain needs picture files, and - is standard input: leave one of them out")
    if wanted.wrong:
        raise UsageError("--wrong needs pictures in folders of classes, and - is standard input: leave one of them out")
    if pictures.count("-") > 1:
        raise UsageError("- is given twice, and standard input holds one picture: give it once")
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("- reads a picture from standard input: pipe one in, as in retrain predict model - < a.jpg")


def _picture(path: str, images: ImageOptions) -> "str | PictureBytes":
    """A picture to predict. The path - stands for standard input."""
    from retrain.model import PictureBytes

    if path != "-":
        return path
    most = images.max_file_size * 2**20
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise UsageError(f"standard input is larger than --max-file-size {images.max_file_size} MiB: give one picture")
    return PictureBytes(path, data)


def _answer(
    prediction: "Prediction", should: str | None, most: int | None, heat_map: str | None = None
) -> dict[str, Any]:
    """What --json shows of a picture."""
    answer: dict[str, Any] = {"path": utf8_path(prediction.path)}
    if prediction.error is not None:
        return answer | {"error": prediction.error}
    scores = dict(list(prediction.scores.items())[:most])
    answer |= {"label": prediction.label, "score": prediction.score, "scores": scores}
    answer |= {} if heat_map is None else {"heat_map": utf8_path(heat_map)}
    return answer | ({} if should is None else {"expected": should})


def _answer_line(prediction: "Prediction", should: str | None, most: int) -> str:
    """The line that shows the scores of a picture."""
    scores = (f"{shown(label)} {score:.4f}" for label, score in list(prediction.scores.items())[:most])
    expected = "" if should is None else f", expected {shown(should)}"
    return f"{display_path(prediction.path)}: {', '.join(scores)}{expected}"
