"""The last stage of a training: the head gets what is chosen on validation pictures, and all pictures are judged."""

import dataclasses
import time

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, SomeVectors
from retrain.evaluation import best_thresholds, summarize
from retrain.events import StageBegan, Warned
from retrain.model import Head, judge
from retrain.options import RunOptions
from retrain.pipeline.results import results_of_pictures
from retrain.pipeline.stages import Network, Split, Start, Test
from retrain.report import JudgedLabels, JudgedPictures
from retrain.text import counted, listing
from retrain.training import RejectionFit, calibrate, fewest_for, figures_of_strangers, fit_rejection

__all__ = ["finish"]


def finish(start: Start, split: Split, network: Network) -> Test:
    """Finish the head with what is asked for, then judge all pictures."""
    start.emit(StageBegan("evaluation"))
    began, options = time.monotonic(), start.options
    data, members, head, calibration = split.data, split.members, network.trained.head, None
    held_out = members["validation"]
    if options.evaluation.calibrate:
        vectors = SomeVectors(network.vectors, held_out)
        head, calibration = calibrate(head, vectors, data.labels[held_out], data.label_sets)
    if data.label_sets is not None:
        head = dataclasses.replace(head, thresholds=_thresholds(start, split, network, head))
    rejection = _rejection(start, split, network)
    if rejection:
        head = dataclasses.replace(head, rejection=rejection.rejection)
    trained = dataclasses.replace(network.trained, head=head)
    tested = _test_batch(members["test"], options)
    outcomes = judge(trained.head, network.vectors, data.labels, data.label_sets)
    metrics = {
        name: summarize(outcomes.select(chosen), data.labels[chosen], start.labels, data.keys[chosen])
        for name, chosen in (members | {"test": tested}).items()
    }
    pictures = results_of_pictures(data, split.sets, data.labels, outcomes, start.labels)
    paths = frozenset(data.samples[number].path for number in tested)
    judged = _judged(start, split, dataclasses.replace(network, trained=trained), tested)
    return Test(trained, calibration, rejection, metrics, pictures, paths, judged, time.monotonic() - began)


def _rejection(start: Start, split: Split, network: Network) -> RejectionFit | None:
    """What tells pictures of no class, if that is asked for, by the bottlenecks that the finished network gives."""
    share = start.options.evaluation.reject
    if share is None:
        return None
    data = LabelledBottlenecks(network.vectors, split.data.labels)
    fitted = fit_rejection(data, split.members, len(start.labels), share)
    if not fitted.has_enough:
        start.emit(
            Warned(
                f"--reject {share:g} of {counted(fitted.pictures, 'validation picture')}: all of them are kept, and of "
                f"new pictures perhaps fewer; {fewest_for(share)} are enough: add pictures, raise "
                "--validation-percentage or lower --reject"
            )
        )
    if network.strangers is None:
        return fitted
    known = SomeVectors(network.vectors, split.members["test" if len(split.members["test"]) else "validation"])
    strangers = figures_of_strangers(fitted.rejection, known, network.strangers)
    return dataclasses.replace(fitted, strangers=strangers)


def _thresholds(start: Start, split: Split, network: Network, head: Head) -> NDArray[np.float32]:
    """(classes,) the score from which on each label is given: chosen on the validation pictures."""
    chosen, data = split.members["validation"], split.data
    has = (
        np.zeros((0, len(start.labels)), np.bool_) if data.label_sets is None else data.label_sets[data.labels[chosen]]
    )
    unknown = [label for number, label in enumerate(start.labels) if not has[:, number].any()]
    if not len(chosen):
        start.emit(Warned("there are no validation pictures to choose thresholds on: all are 0.5"))
    elif unknown:
        labels = counted(len(unknown), "label", "has/have")
        start.emit(Warned(f"{labels} no validation pictures to choose a threshold on, and 0.5: {listing(unknown)}"))
    return best_thresholds(head.scores(SomeVectors(network.vectors, chosen)), has)


def _judged(start: Start, split: Split, network: Network, tested: NDArray[np.int64]) -> JudgedPictures | JudgedLabels:
    """What the report is made of. Test pictures that --test-batch-size left out count as unused."""
    data, sets = split.data, np.array(split.sets)
    left_out = np.setdiff1d(split.members["test"], tested)
    sets[left_out] = "unused"
    paths = [sample.path for sample in data.samples]
    if data.label_sets is not None:
        known = (data.labels, data.keys, network.vectors, network.trained.head)
        return JudgedLabels(start.labels, paths, sets, *known, label_sets=data.label_sets)
    return JudgedPictures(
        start.labels,
        paths,
        sets,
        data.labels,
        data.keys,
        network.vectors,
        network.trained.head,
        [sample.group for sample in data.samples],
    )


def _test_batch(members: NDArray[np.int64], options: RunOptions) -> NDArray[np.int64]:
    """The test pictures, or a random part of them if a size is given."""
    size = options.evaluation.test_batch_size
    if size == -1 or size >= len(members):
        return members
    return np.sort(np.random.default_rng(options.training.seed).permutation(members)[:size])
