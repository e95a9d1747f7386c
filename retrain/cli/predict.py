"""`retrain predict`: classify pictures with a trained model."""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from retrain.cli.arguments import (
    EXIT_ERROR,
    ONE_LABEL,
    Commands,
    add_command,
    add_model_dir,
    add_options,
    add_output_options,
    options_from,
)
from retrain.cli.output import print_json, print_warning
from retrain.errors import ImageFolderError, UsageError
from retrain.options import (
    BackboneOptions,
    ExtractionOptions,
    ImageOptions,
    LabelOptions,
    PredictionOptions,
    RunOptions,
)
from retrain.paths import display_path, utf8_path
from retrain.text import counted, listing, shown

if TYPE_CHECKING:
    from retrain.data import ClassNames
    from retrain.model import Classifier, PictureBytes, Prediction

__all__ = ["add_predict_command"]

_MOST_SCORES = 5  # of a picture, on its line
_SCORES = ("score", "scores")  # what they are called in JSON


def add_predict_command(commands: Commands) -> None:
    """Add `predict`."""
    parser = add_command(
        commands,
        "predict",
        _predict,
        "classify pictures with a trained model, or by a few pictures of each class",
        "  retrain predict model rose.jpg\n"
        "  retrain predict model flower_photos --wrong\n"
        "  retrain predict --few-shot examples rose.jpg",
    )
    add_model_dir(parser, text="model folder that retrain train wrote; with --few-shot, a folder of examples")
    text = "picture files, or folders of them; - reads a picture from standard input"
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=text)
    add_options(parser, "predictions", PredictionOptions)
    add_options(parser, "pictures", ImageOptions)
    add_options(parser, "with --few-shot", BackboneOptions, ExtractionOptions, LabelOptions, omitted=ONE_LABEL)
    add_output_options(parser)


class _Way(NamedTuple):
    """How pictures are classified: by a model, or by examples."""

    class_names: "ClassNames"
    predict: "Callable[[Sequence[str]], Iterable[Prediction]]"
    explain: "Callable[[Prediction], str | None]"
    fields: tuple[str, str] = _SCORES


def _predict(args: argparse.Namespace) -> int:
    """Classify pictures. The exit code is 1 if one that was named can't be read."""
    wanted, images = options_from(PredictionOptions, args), options_from(ImageOptions, args)
    _check_standard_input(args.pictures, wanted)
    from retrain.data import expected_labels, picture_files
    from retrain.model import Prediction

    way = _by_examples(args, images) if wanted.few_shot else _by_model(args, wanted, images)
    expected = expected_labels(args.pictures, way.class_names) if wanted.wrong else {}
    strays = sum(label is None for label in expected.values())
    if strays:
        print_warning(f"{counted(strays, 'file', 'is/are')} in no folder that is named like a class: left out")
    found = [*picture_files(args.pictures)]
    unread = [Prediction(path, None, None, {}, problem) for path, problem in found if problem is not None]
    paths = [path for path, problem in found if problem is None and (not wanted.wrong or expected.get(path))]
    failed = right = 0
    answers: list[dict[str, Any]] = []
    for prediction in itertools.chain(unread, way.predict(paths)):
        should = expected.get(prediction.path)
        if prediction.error is not None:
            was_named = prediction.path in args.pictures  # otherwise it is a stray file in a folder, and no failure
            failed += was_named
            what = f"{display_path(prediction.path)}: {shown(prediction.error)}"
            print(f"retrain: {'error' if was_named else 'warning'}: {what}", file=sys.stderr)
        elif should is not None and prediction.label == should:
            right += 1
            continue
        heat_map = None if prediction.error is not None else way.explain(prediction)
        if prediction.error is None and not args.json:
            line = _answer_line(prediction, should, 1 if wanted.wrong else wanted.top)
            print(line if heat_map is None else f"{line} ({display_path(heat_map)})", flush=True)
        answers.append(_answer(prediction, should, wanted.top, way.fields) | _place_of(heat_map))
    if args.json:
        print_json(answers)
    elif wanted.wrong:
        wrong = sum("expected" in answer for answer in answers)
        print(f"{wrong} of {wrong + right} wrong")
    if not answers and not right:
        raise ImageFolderError(f"no files in {listing(map(display_path, args.pictures))}: nothing to classify")
    return EXIT_ERROR if failed else 0


def _by_model(args: argparse.Namespace, wanted: PredictionOptions, images: ImageOptions) -> _Way:
    from retrain.model import Classifier

    own = RunOptions(images=images, backbone=BackboneOptions(trust=args.trust))
    if options_from(RunOptions, args) != own:
        raise UsageError(
            "options of the backbone, the cache and labels are for --few-shot, and a model has its own: leave them out"
        )
    classifier = Classifier(args.model_dir, args.trust)
    if wanted.wrong and classifier.thresholds is not None:
        raise UsageError(
            "--wrong compares one label with the name of a picture's folder, and pictures can have several labels by "
            f"{display_path(args.model_dir)}: leave it out"
        )

    def predict(paths: Sequence[str]) -> "Iterable[Prediction]":
        pictures = (_picture(path, images) for path in paths)
        return classifier.predict(pictures, images.max_pixels, images.max_file_size)

    return _Way(classifier.description.class_names, predict, _explainer(classifier, wanted, images))


def _by_examples(args: argparse.Namespace, images: ImageOptions) -> _Way:
    from retrain.cli.progress import resumable_progress
    from retrain.data import ClassNames, class_labels, read_source
    from retrain.model import Prediction
    from retrain.pipeline.few_shot import few_shot

    options = options_from(RunOptions, args)
    names = read_source(args.model_dir, [options.extraction.cache_dir]).class_names
    labels = class_labels(names, options.labels.labels_file)

    def predict(paths: Sequence[str]) -> "Iterable[Prediction]":
        pictures = [_picture(path, images) for path in paths]
        with resumable_progress(args.quiet) as progress:
            found = few_shot(args.model_dir, pictures, options, progress.show)
        return [Prediction(one.path, one.label, one.similarity, one.similarities, one.error) for one in found]

    return _Way(ClassNames(labels, names), predict, lambda prediction: None, ("similarity", "similarities"))


def _explainer(
    classifier: "Classifier", wanted: PredictionOptions, images: ImageOptions
) -> "Callable[[Prediction], str | None]":
    """What writes the heat map of a prediction, and gives its path; None if none is asked for."""
    if wanted.explain is None:
        return lambda prediction: None
    from retrain.pipeline.explain import Explainer

    explainer = Explainer(classifier, wanted.explain, images)
    return lambda prediction: explainer.write(prediction.path, str(prediction.first_label))


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
    prediction: "Prediction", should: str | None, most: int | None, fields: tuple[str, str] = _SCORES
) -> dict[str, Any]:
    """What --json shows of a picture."""
    answer: dict[str, Any] = {"path": utf8_path(prediction.path)}
    if prediction.error is not None:
        return answer | {"error": prediction.error}
    scores = dict(list(prediction.scores.items())[:most])
    answer |= {"label": prediction.label, fields[0]: prediction.score, fields[1]: scores}
    answer |= {} if prediction.thresholds is None else {"labels": prediction.labels}
    if prediction.known is not None:
        answer |= {"known": prediction.known, "distance": prediction.distance}
    return answer | ({} if should is None else {"expected": should})


def _place_of(heat_map: str | None) -> dict[str, Any]:
    return {} if heat_map is None else {"heat_map": utf8_path(heat_map)}


def _answer_line(prediction: "Prediction", should: str | None, most: int | None) -> str:
    """The line that shows the scores of a picture, or that it is unknown.

    Args:
        most: labels to show, the most likely ones; None: a few.
    """
    labels = [*prediction.scores][: most or _MOST_SCORES]
    if prediction.thresholds is not None and most is None:
        labels = list(prediction.labels or labels[:1])
    scores = (_score_text(prediction, label) for label in labels)
    expected = "" if should is None else f", expected {shown(should)}"
    told = (
        f"{prediction.label}, at a distance of {prediction.distance:.3f}; likeliest " if prediction.is_unknown else ""
    )
    return f"{display_path(prediction.path)}: {told}{', '.join(scores)}{expected}"


def _score_text(prediction: "Prediction", label: str) -> str:
    """A label and its score, in parentheses if that is below the label's threshold."""
    score = prediction.scores[label]
    text = f"{shown(label)} {score:.4f}"
    is_below = prediction.thresholds is not None and score < prediction.thresholds[label]
    return f"({text})" if is_below else text
