"""The check of an export: a foreign runtime must answer as `retrain predict` does."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.data import PictureForm, decode_image, read_header
from retrain.errors import ExportError, UnreadableImageError
from retrain.events import Emit, Reported
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.sample_pictures import KnownPicture, SamplePicture, SamplePictures, file_of
from retrain.model import KNOWN, KNOWN_FROM, Classifier
from retrain.paths import display_path
from retrain.text import counted, listing, ratio

__all__ = ["TOLERANCE", "Accuracy", "Checked", "Loaded", "check_accuracy", "check_export"]

# Of a score. Another order of sums in float32 moves scores by some 1e-6, resizing that rounds a few values otherwise
# by some 1e-3; wrong weights, labels or preprocessing move those of some of twenty pictures by hundredths at least.
TOLERANCE = 1e-3
# Of `known`, which falls from 1 to 0 within a small part of the distances.
KNOWN_TOLERANCE = 1e-2
KNOWN_LOSS = 0.3  # the most that forms in fewer bits may change `known` on average

_LONGEST_SIDE = 1024  # pixels, of pictures in a batch
_WARM_UP = 2  # pictures; the first ones take longer


class Loaded(Protocol):
    """An export, loaded. `Runtime` has the meaning of the names."""

    labels: Sequence[str]
    thresholds: Sequence[float] | None
    inputs: Mapping[str, Takes]
    seconds: float  # that loading took

    def answers(self, name: str, pictures: Pictures) -> tuple[NDArray[np.float32], float]:
        """Scores of some pictures in one call, `known` behind them, and the seconds that it took."""


@dataclass(frozen=True)
class Accuracy:
    """How an export does on pictures with known labels."""

    set: str
    n: int
    correct: int
    correct_before: int  # of the same pictures by `retrain predict`, in float32

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "set": self.set,
            "n": self.n,
            "accuracy": self.correct / self.n,
            "accuracy_float32": self.correct_before / self.n,
        }


@dataclass(frozen=True)
class Checked:
    """What the check found out of an export that passed it."""

    pictures: int  # that were compared
    largest_difference: float  # of a score, to `retrain predict`
    pictures_per_second: float | None  # on this machine, one at a time
    load_seconds: float
    accuracy: tuple[Accuracy, ...] = ()  # of forms in fewer bits

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pictures": self.pictures,
            "largest_difference": self.largest_difference,
            "pictures_per_second": self.pictures_per_second,
            "load_seconds": round(self.load_seconds, 3),
            "accuracy": [accuracy.as_dict() for accuracy in self.accuracy],
        }


def check_export(facts: Facts, loaded: Loaded, classifier: Classifier, pictures: SamplePictures, emit: Emit) -> Checked:
    """Compare an export with `retrain predict` on real pictures, one by one and in a batch.

    Raises ExportError if it differs. Forms in fewer bits may differ; they must give the same scores in a batch as
    singly, and `check_accuracy` says whether they are good enough.
    """
    if tuple(loaded.labels) != classifier.labels:
        raise ExportError(
            f"the format {facts.name} has other labels than the model, or in another order: "
            f"{listing(loaded.labels, 3)}, expected {listing(classifier.labels, 3)}"
        )
    if loaded.thresholds != classifier.thresholds:
        raise ExportError(
            f"the format {facts.name} has other thresholds than the model: {_shown(loaded.thresholds)}, expected "
            f"{_shown(classifier.thresholds)}"
        )
    check = _Check(facts, loaded, classifier, pictures.compared, emit)
    found = [check.compare(name, takes) for name, takes in loaded.inputs.items()]
    accuracy = tuple(check.accuracy(name, known) for name, known in pictures.judged.items()) if facts.is_rounded else ()
    seconds = found[0][1]
    return Checked(
        len(pictures.compared),
        max(difference for difference, _ in found),
        1 / seconds if seconds else None,
        loaded.seconds,
        accuracy,
    )


def _shown(thresholds: Sequence[float] | None) -> str:
    return "none" if thresholds is None else listing([f"{threshold:.6g}" for threshold in thresholds], 3)


@dataclass(frozen=True)
class _Question:
    """Pictures that go to an export in one call, and what `retrain predict` gets in their place."""

    pictures: Pictures
    files: Sequence[bytes]  # that decode to the same pictures
    paths: Sequence[str]


@dataclass(frozen=True)
class _Check:
    """One export, and what it is compared with."""

    facts: Facts
    loaded: Loaded
    classifier: Classifier
    sample: Sequence[SamplePicture]
    emit: Emit

    def compare(self, name: str, takes: Takes) -> tuple[float, float]:
        """The largest difference to `retrain predict` in a score, and the seconds of a picture.

        Raises ExportError if a difference is too large.
        """
        form = self.classifier.description.form
        largest, of_known, seconds = 0.0, [], []
        for number, picture in enumerate(self.sample):
            question = _single(picture, takes, form)
            answers, spent = self._answers(name, question)
            seconds.append(spent)
            expected = self._expected(name, question)
            differences = self._differences(answers, expected, question, not self.facts.is_rounded)
            largest = max(largest, differences[0])
            of_known.append(differences[1])
            self.emit(Reported(f"checking {self.facts.name}", number + 1, len(self.sample)))
        batch = _batch(self.sample, takes, form)
        expected = self._one_by_one(name, batch) if self.facts.is_rounded else self._expected(name, batch)
        self._check_known(of_known)
        difference, _ = self._differences(self._answers(name, batch)[0], expected, batch, True)
        if not self.facts.is_rounded:
            largest = max(largest, difference)
        return largest, statistics.median(seconds[_WARM_UP:] or seconds)

    def _check_known(self, differences: Sequence[float]) -> None:
        """Raise ExportError if a form in fewer bits no longer tells which pictures are known."""
        mean = float(np.mean(differences))
        if not mean <= KNOWN_LOSS:
            raise ExportError(
                f"the format {self.facts.name} gives values of {KNOWN} that differ from those of retrain predict by "
                f"{mean:.2g} on average, and {KNOWN_LOSS:g} is allowed: use a format in more bits"
            )

    def accuracy(self, set_name: str, known: Sequence[KnownPicture]) -> Accuracy:
        """How often the export and `retrain predict` are right.

        Of several labels all must be right, and an unknown picture never is. Pictures that can't be read don't count.
        """
        [(name, takes), *_] = self.loaded.inputs.items()
        form = self.classifier.description.form
        n, right, right_before = 0, 0, 0
        for done, picture in enumerate(known):
            self.emit(Reported(f"testing {self.facts.name} on {set_name} pictures", done + 1, len(known)))
            try:
                question = _single(SamplePicture(picture.path, picture.read()), takes, form)
            except UnreadableImageError:
                continue
            expected = set(picture.labels or ())
            n += 1
            right += int(self._labels(self._answers(name, question)[0][0]) == expected)
            right_before += int(self._labels(self._expected(name, question)[0]) == expected)
        return Accuracy(set_name, n, right, right_before)

    def _labels(self, answer: NDArray[np.float32]) -> set[str]:
        """The labels that a picture has by an answer; none if it is unknown."""
        labels, thresholds = self.classifier.labels, self.classifier.thresholds
        scores, known = np.split(answer, [len(labels)])
        if (known < KNOWN_FROM).any():
            return set()
        if thresholds is None:
            return {labels[int(scores.argmax())]}
        return {labels[number] for number in np.flatnonzero(scores >= np.array(thresholds, np.float32))}

    def _expected(self, name: str, question: _Question) -> NDArray[np.float32]:
        """(n, numbers) what `retrain predict` says, as far as an input gives it."""
        form = self.classifier.description.form
        answers = self.classifier.answers(np.stack([decode_image(file, form) for file in question.files]))
        return answers[:, : self._length(name)]

    def _length(self, name: str) -> int:
        """How many numbers an input gives for a picture."""
        is_alone = name in self.facts.scores_alone
        return len(self.classifier.labels) if is_alone else self.classifier.description.answer_length

    def _one_by_one(self, name: str, question: _Question) -> NDArray[np.float32]:
        """(n, numbers) what the export says of pictures when each comes alone."""
        alone = (question.pictures[number : number + 1] for number in range(len(question.paths)))
        singly = (_Question(picture, (), question.paths[:1]) for picture in alone)
        return np.concatenate([self._answers(name, one)[0] for one in singly])

    def _answers(self, name: str, question: _Question) -> tuple[NDArray[np.float32], float]:
        """(n, numbers) what the export says, and the seconds that it took. Raises ExportError if it says nonsense."""
        answers, seconds = self.loaded.answers(name, question.pictures)
        expected = (len(question.paths), self._length(name))
        if answers.shape != expected:
            raise ExportError(
                f"the format {self.facts.name} gives {answers.shape} for {counted(len(question.paths), 'picture')}, "
                f"expected {expected}"
            )
        return answers, seconds

    def _differences(
        self, found: NDArray[np.float32], expected: NDArray[np.float32], question: _Question, are_bounded: bool
    ) -> tuple[float, float]:
        """The largest differences, of a score and of `known`; NaN is the largest of all.

        Raises ExportError if one is too large, and they are bounded.
        """
        gaps = np.nan_to_num(np.abs(found - expected), nan=np.inf)
        classes = len(self.classifier.labels)
        allowed = np.full(gaps.shape[1], TOLERANCE)
        allowed[classes:] = KNOWN_TOLERANCE
        picture, column = np.unravel_index((gaps / allowed).argmax(), gaps.shape)
        if are_bounded and not gaps[picture, column] <= allowed[column]:
            alone = len(question.paths) == 1
            what = "scores that differ" if column < classes else f"values of {KNOWN} that differ"
            what += " from its own without the others" if self.facts.is_rounded else " from those of retrain predict"
            raise ExportError(
                f"the format {self.facts.name} gives {what}, by {gaps[picture, column]:.2g} where "
                f"{allowed[column]:g} is allowed: of {display_path(question.paths[picture])}"
                + ("" if alone else f", number {picture + 1} of {len(question.paths)} in a batch")
            )
        return float(gaps[:, :classes].max()), float(gaps[:, classes:].max(initial=0))


def _single(picture: SamplePicture, takes: Takes, form: PictureForm) -> _Question:
    """One picture, as an input takes it. Raises UnreadableImageError."""
    if takes == "pixels":
        return _Question(decode_image(picture.data, form)[np.newaxis], [picture.data], [picture.path])
    header = read_header(picture.data)
    is_deep = form.depth != "bits" and _is_deep_png(picture.data)
    if takes == "file" and (header.format == "JPEG" or is_deep) and not header.is_on_its_side:
        return _Question([picture.data], [picture.data], [picture.path])
    # Whole: a decoder that shrinks a large JPEG as it reads it is no part of an export. Upright and on white: predict
    # resizes before that, graphs after, which decides on a level here and there.
    whole = decode_image(picture.data, form.whole(header.height, header.width))
    file = file_of(whole, "PNG" if takes == "file" else "BMP")
    return _Question([file] if takes == "file" else whole[np.newaxis], [file], [picture.path])


def _is_deep_png(data: bytes) -> bool:
    """Whether it is a PNG of 16 bits without transparency, which graphs that take files scale themselves."""
    return data[12:16] == b"IHDR" and data[24:26] in (b"\x10\x00", b"\x10\x02") and b"tRNS" not in data


def _batch(sample: Sequence[SamplePicture], takes: Takes, form: PictureForm) -> _Question:
    """All pictures, as an input takes them together: files, pixels, or parts of pictures that have one size."""
    singly = [_single(picture, takes, form) for picture in sample]
    paths = [picture.path for picture in sample]
    if takes != "picture":
        files = [file for question in singly for file in question.files]
        given = [picture for question in singly for picture in question.pictures]
        return _Question(given if takes == "file" else np.stack(given), files, paths)
    shapes = [np.shape(question.pictures) for question in singly]
    height, width = (min(_LONGEST_SIDE, *(shape[axis] for shape in shapes)) for axis in (1, 2))
    parts = np.concatenate([np.asarray(question.pictures)[:, :height, :width] for question in singly])
    return _Question(parts, [file_of(part, "BMP") for part in parts], paths)


def check_accuracy(facts: Facts, found: Sequence[Accuracy], allowed: float) -> tuple[str, ...]:
    """Check how far the accuracy of a form in fewer bits is below float32's, on all held-out pictures together.

    Args:
        allowed: percentage points.
    Returns notes, such as that there are too few pictures to tell. Raises ExportError if it is too far.
    """
    n = sum(accuracy.n for accuracy in found)
    if not n:
        return (
            f"the accuracy of {facts.name} was not measured: there are no pictures with labels; export it where those "
            "of the training are or, if a picture has one label, give --pictures DIR with a sub-folder for each class",
        )
    lost = sum(accuracy.correct_before - accuracy.correct for accuracy in found)
    too_few = 0 < allowed * n / 100 < 1  # one picture alone is more than that
    if lost > max(allowed * n / 100, int(too_few)):
        each = "; ".join(
            f"{accuracy.set}: {ratio(accuracy.correct / accuracy.n)}, in float32 "
            f"{ratio(accuracy.correct_before / accuracy.n)}, n={accuracy.n}"
            for accuracy in found
            if accuracy.n
        )
        raise ExportError(
            f"the format {facts.name} loses {100 * lost / n:.1f} points of accuracy, and {allowed:g} are allowed "
            f"({each}): use a format in more bits, or raise --max-accuracy-drop"
        )
    if too_few:
        return (f"{counted(n, 'picture', 'is/are')} too few to tell a loss of {allowed:g} points of {facts.name}",)
    return ()
