"""The models that are served, each with its name. A model that is trained anew takes the place of the old one."""

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrain.errors import ModelFolderError, RetrainError
from retrain.evaluation import wilson_interval
from retrain.events import Event, Noted, Warned
from retrain.folders import identity
from retrain.machine import cores
from retrain.model import MODEL, Classifier
from retrain.model_files import REPORT, RUN
from retrain.paths import display_path
from retrain.report import HeatMaps, heat_maps_of
from retrain.serving.problems import Problem
from retrain.text import counted, first_line

__all__ = ["Held", "Models", "ServedModel"]

_MOST_PROBED = 8  # pictures: as many as a network has interpreters, at most
_MOST_REPORT_BYTES = 2**26
_ADDS_UP = 1e-3  # by how much the scores of a picture may miss 1


@dataclass(frozen=True)
class Held:
    """On how many pictures, that it was not trained on, a model was measured, and how often it was right.

    Where a picture can have several labels, right are those that got exactly their own.
    """

    set: str  # test or validation
    pictures: int
    right: int

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.pictures

    @property
    def interval(self) -> tuple[float, float]:
        """95% (Wilson)."""
        return wilson_interval(self.right, self.pictures)


@dataclass(frozen=True)
class ServedModel:
    """A model that gives answers."""

    name: str
    version: int  # seconds since 1970, of its training
    classifier: Classifier
    record: Mapping[str, Any]  # what run.json holds

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the scores."""
        return self.classifier.labels

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Of the labels, where a picture can have several."""
        return self.classifier.thresholds

    @property
    def tells_known(self) -> bool:
        """Whether it tells pictures of none of its classes."""
        return self.classifier.limit is not None

    @property
    def backbone(self) -> str:
        """The name of the network below the trained layer."""
        return self.classifier.description.backbone_name

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the network sees."""
        return self.classifier.description.height, self.classifier.description.width

    @property
    def scores_name(self) -> str:
        """What the exported graphs call the scores."""
        return self.classifier.description.final_tensor_name

    @property
    def held(self) -> Held | None:
        """How good the model is; None if that was not measured."""
        results = self.record.get("results")
        for name in ("test", "validation"):
            found = results.get(name) if isinstance(results, dict) else None
            measure = "accuracy" if self.thresholds is None else "exact_match"
            if isinstance(found, dict) and found.get("n") and found.get(measure) is not None:
                return Held(name, int(found["n"]), round(found[measure] * found["n"]))
        return None

    @property
    def has_report(self) -> bool:
        """Whether there is a report to look at."""
        return (self.classifier.folder / REPORT).is_file()

    def report(self) -> bytes:
        """The report, in HTML. Raises Problem if there is none."""
        try:
            with open(self.classifier.folder / REPORT, "rb") as file:
                return file.read(_MOST_REPORT_BYTES)
        except OSError:
            raise Problem(404, f"the model {self.name} has no report: make one with retrain report") from None

    def heat_maps(self) -> HeatMaps:
        """What shows which places spoke for a label; made when it is first wanted. Raises Problem if it can't be."""
        if self._heat_maps is None:
            raise Problem(404, f"there are no heat maps of the model {self.name}: its network does not allow them")
        return self._heat_maps

    @functools.cached_property
    def _heat_maps(self) -> HeatMaps | None:
        try:
            return heat_maps_of(self.classifier)
        except ModelFolderError:
            return None


class Models:
    """The models by name. Each is loaded again when another training has replaced its folder.

    Args:
        folders: name -> model folder. The first one is what a request gets that names none.
        trust: as for `Classifier`.
    Raises RetrainError if one can't be used.
    """

    def __init__(self, folders: Mapping[str, Path], trust: bool = False) -> None:
        self._folders, self._trust = dict(folders), trust
        self._seen = {name: identity(folder, MODEL) for name, folder in folders.items()}
        self._models = {name: self._load(name, 0) for name in folders}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def get(self, name: str | None = None) -> ServedModel:
        """A model; the first one if no name is given. Raises Problem."""
        model = next(iter(self)) if name is None else self._models.get(name)
        if model is None:
            known = ", ".join(self._models)
            raise Problem(404, f"no model is called {name!r:.80}: there is {known}")
        return model

    def refresh(self) -> list[Event]:
        """Load the models whose folders were replaced; what happened, for people. A broken one changes nothing.

        A model answers until the one that replaces it has shown that it can. Only one thread may call this.
        """
        told: list[Event] = []
        for name, folder in self._folders.items():
            found = identity(folder, MODEL)
            if found == self._seen[name]:
                continue
            self._seen[name] = found
            old = self._models[name]
            try:
                new = self._load(name, old.version + 1)
            except RetrainError as error:
                told.append(Warned(f"the model {name} stays as it was: {error}"))
                continue
            if new.classifier.description != old.classifier.description:
                self._models[name] = new
                told.append(Noted(f"the model {name} was trained anew: {counted(len(new.labels), 'class')}"))
        return told

    def _load(self, name: str, lowest: int) -> ServedModel:
        """Load a model and try it. Raises ModelFolderError."""
        folder = self._folders[name]
        classifier = Classifier(folder, self._trust)
        _probe(classifier)
        try:
            version = int(os.stat(classifier.folder / RUN).st_mtime)
        except OSError as error:  # replaced meanwhile: the next look finds that
            raise ModelFolderError(f"can't read {RUN} in {display_path(folder)}: {first_line(error)}") from error
        return ServedModel(name, max(lowest, version), classifier, classifier.record())


def _probe(classifier: Classifier) -> None:
    """Classify noise on every core, which also readies an interpreter on each. Raises ModelFolderError."""
    size = classifier.description.height, classifier.description.width
    shape = (min(max(2, cores()), _MOST_PROBED), *size, 3)
    scores = classifier.scores(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    fault, is_right = "are not from 0 to 1", (scores >= 0) & (scores <= 1 + _ADDS_UP)  # NaN is not
    if classifier.thresholds is None:
        fault, is_right = "do not add up to 1", is_right & (np.abs(scores.sum(axis=1, keepdims=True) - 1) <= _ADDS_UP)
    if not is_right.all():
        raise ModelFolderError(f"{display_path(classifier.model_dir)} gives scores that {fault}: train the model again")
