"""The pictures of a folder, which may have several labels, and what a model says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrain.cache import chunks
from retrain.data import SEPARATOR
from retrain.evaluation import AnyOutcomes, LabelOutcomes, MultiLabelMetrics, logistic, summarize
from retrain.model import judge
from retrain.report.contents import Figure, Score
from retrain.report.judged import Judged

__all__ = ["NO_LABEL", "JudgedLabels"]

NO_LABEL = "no label"  # what a picture without labels is called


@dataclass(frozen=True)
class JudgedLabels(Judged):
    """Pictures that may have several labels."""

    label_sets: NDArray[np.bool_] = field(kw_only=True)  # (sets, classes) which labels each number in `labels` means

    @property
    def has(self) -> NDArray[np.bool_]:
        """(n, classes) which labels each picture has."""
        return np.asarray(self.label_sets[self.labels])

    def outcomes_of(self, numbers: NDArray[np.int64]) -> LabelOutcomes:
        """Of some pictures."""
        found: AnyOutcomes = judge(self.head, self.vectors[numbers], self.labels[numbers], self.label_sets)
        if not isinstance(found, LabelOutcomes):
            raise TypeError("the pictures have one label each")
        return found

    @cached_property
    def outcomes(self) -> LabelOutcomes:
        """Of the shown pictures."""
        return self.outcomes_of(self.shown)

    @cached_property
    def metrics(self) -> MultiLabelMetrics:
        """Of the shown pictures."""
        return summarize(self.outcomes, self.labels[self.shown], self.names)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(m, classes) of the shown pictures."""
        return logistic(self.outcomes.logits)

    @cached_property
    def _answers(self) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
        """Of all pictures: (n, classes) labels given, (n,) certainties, and (n,) labels with the highest scores."""
        parts = [self.outcomes_of(np.arange(rows.start, rows.stop)) for rows in chunks(len(self))]
        given = np.concatenate([part.given for part in parts])
        best = np.concatenate([part.logits.argmax(axis=1) for part in parts])
        return given, np.concatenate([part.certainties for part in parts]), best

    def label_of(self, number: int) -> str:
        """All its labels."""
        return self._text(self.label_sets[self.labels[number]])

    def answers_of(self, number: int) -> tuple[Score, ...]:
        """All labels that it is given, as one, with the score of all decisions together."""
        given, certainties, _ = self._answers
        return (Score(self._text(given[number]), float(certainties[number])),)

    def _text(self, flags: NDArray[np.bool_]) -> str:
        return SEPARATOR.join(self.names[label] for label in np.flatnonzero(flags).tolist()) or NO_LABEL

    def best_labels(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """(m,) the labels with the highest scores."""
        return np.asarray(self._answers[2][list(numbers)])

    def figure_of(self, numbers: NDArray[np.int64]) -> Figure | None:
        """The mean average precision."""
        found = summarize(self.outcomes_of(numbers), self.labels[numbers], self.names)
        if found.mean_average_precision is None or found.mean_average_precision_interval is None:
            return None
        return Figure(found.mean_average_precision, found.mean_average_precision_interval, found.n)
