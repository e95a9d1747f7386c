"""The pictures of a folder and what a model says of them: what most of the report is made of."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.evaluation import Metrics, different, summarize
from retrain.model import Head, judge
from retrain.report.contents import Figure, Score

__all__ = ["Judged", "JudgedPictures"]


@dataclass(frozen=True)
class Judged(ABC):
    """Readable pictures with their bottlenecks, each with one label or several, and the head that judges them."""

    names: tuple[str, ...]  # of the labels
    paths: Sequence[str]  # (n,) relative to the image folder
    sets: NDArray[np.str_]  # (n,) train, validation, test, or unused
    labels: NDArray[np.int32]  # (n,) numbers of the labels; of several, equal for pictures with the same labels
    keys: NDArray[np.uint8]  # (n, 32) SHA-256 of each file
    vectors: VectorSource  # (n, d)
    head: Head
    groups: Sequence[str | None] | None = None  # (n,) of pictures that must not be taken apart, from a manifest

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def shown_set(self) -> str:
        """The set whose figures are shown: the test set; without one, the validation set."""
        return "test" if (self.sets == "test").any() else "validation"

    def members(self, name: str) -> NDArray[np.int64]:
        """The numbers of a set's pictures, without copies."""
        chosen = np.flatnonzero(self.sets == name)
        return chosen[different(self.keys[chosen], self.labels[chosen])]

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """The numbers of the pictures that the figures are of: those of the shown set, without copies."""
        return self.members(self.shown_set)

    @cached_property
    def all_different(self) -> NDArray[np.int64]:
        """The numbers of all pictures, without copies."""
        return different(self.keys, self.labels)

    @abstractmethod
    def label_of(self, number: int) -> str:
        """What a picture is called: its label, or all of its labels."""

    @abstractmethod
    def answers_of(self, number: int) -> tuple[Score, ...]:
        """What the model calls a picture, the surest first."""

    @abstractmethod
    def best_labels(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """(m,) the numbers of the labels with the highest scores of some pictures."""

    @abstractmethod
    def figure_of(self, numbers: NDArray[np.int64]) -> Figure | None:
        """How good the model is on some pictures; None if there are none."""


@dataclass(frozen=True)
class JudgedPictures(Judged):
    """Pictures with one label each."""

    def label_of(self, number: int) -> str:
        """Its label."""
        return self.names[int(self.labels[number])]

    def answers_of(self, number: int) -> tuple[Score, ...]:
        """The two labels with the highest scores."""
        best = zip(self.given[number].tolist(), self.scores[number].tolist(), strict=True)
        return tuple(Score(self.names[label], score) for label, score in best)

    def best_labels(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """(m,) the labels that the pictures are given."""
        return self.given[list(numbers), 0]

    def figure_of(self, numbers: NDArray[np.int64]) -> Figure | None:
        """The accuracy."""
        found = self.metrics_of(numbers)
        if found.accuracy is None or found.accuracy_interval is None:
            return None
        return Figure(found.accuracy, found.accuracy_interval, found.n)

    @cached_property
    def metrics(self) -> Metrics:
        """Of the shown pictures."""
        return self.metrics_of(self.shown)

    def metrics_of(self, numbers: NDArray[np.int64]) -> Metrics:
        """Of some pictures."""
        labels = self.labels[numbers]
        return summarize(judge(self.head, self.vectors[numbers], labels), labels, self.names)

    @cached_property
    def _best_two(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n, 2) labels and (n, 2) their scores, the best first."""
        places = np.empty((len(self), 2), np.int64)
        scores = np.empty((len(self), 2))
        rows = np.arange(len(self))
        for part in chunks(len(self)):
            found = self.head.scores(self.vectors[part])
            own = rows[: len(found)]
            for rank in range(2):
                places[part, rank] = found.argmax(axis=1)
                scores[part, rank] = found[own, places[part, rank]]
                found[own, places[part, rank]] = -1
        return places, scores

    @property
    def given(self) -> NDArray[np.int64]:
        """(n, 2) the numbers of the two labels with the highest scores, the highest first."""
        return self._best_two[0]

    @property
    def scores(self) -> NDArray[np.float64]:
        """(n, 2) the scores of these."""
        return self._best_two[1]

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """(n,) whether the label with the highest score is the picture's own."""
        return np.asarray(self.given[:, 0] == self.labels)
