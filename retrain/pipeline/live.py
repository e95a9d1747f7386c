"""A model that follows its folder: what is new is extracted, and the head is trained again."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from retrain.backbones import choose_backbone
from retrain.cache import LabelledBottlenecks, SomeVectors
from retrain.data import (
    SETS,
    LabelledPictures,
    assign_sets,
    class_labels,
    decode_image,
    read_image_folder,
    read_unlabelled,
    summarize_left_out,
)
from retrain.errors import (
    BackboneError,
    CacheError,
    ImageFolderError,
    LabelsFileError,
    TrainingError,
    UnreadableImageError,
    UsageError,
)
from retrain.evaluation import different
from retrain.events import Emit, Event, Reported, StageBegan, Warned, ignore
from retrain.extraction import choose_extractor_for
from retrain.model import Head, Layer, Prediction
from retrain.options import RunOptions, TrainingOptions
from retrain.paths import display_path
from retrain.pipeline.checks import (
    check_class_counts,
    check_contradictions,
    check_copies,
    check_leaks,
    check_no_strangers,
    check_ready_made_split,
    check_sets,
    check_training,
)
from retrain.pipeline.label_next import PictureToLabel, Unlabelled
from retrain.pipeline.live_held_out import train_folds
from retrain.pipeline.live_pictures import LivePictures, Look
from retrain.pipeline.results import WrittenModel
from retrain.pipeline.train import train, training_began
from retrain.report import (
    Answers,
    CurveStep,
    FoldHeads,
    JudgedPictures,
    LiveReport,
    LookAlikes,
    PictureFiles,
    live_report,
    suspects_of,
    untrained_report,
)
from retrain.text import counted

if TYPE_CHECKING:
    from retrain.backbones import Extractor
    from retrain.training import TrainedHead

__all__ = ["FEW_TESTED", "LiveModel", "UpdateCancelled"]

FEW_TESTED = 100  # test pictures: with fewer, all pictures are tested by cross-validation
_CURVE_STEPS = 50  # steps between evaluations, which the curve is made of; more would take time
_MOST_CURVE_STEPS = 100

# What the user can put right in the folder, or on the disk.
_USERS_OWN = (ImageFolderError, LabelsFileError, TrainingError, CacheError)


class UpdateCancelled(Exception):
    """An update was stopped, because `cancelled` said so. What was extracted is kept."""


def never() -> bool:
    """Don't cancel."""
    return False


@dataclass(frozen=True)
class _Model:
    """A head, and the pictures that it was trained and tested on."""

    look: Look
    judged: JudgedPictures
    folds: FoldHeads | None  # None: not trained yet, or there can't be any
    report: LiveReport


@dataclass
class _Run:
    """An update on its way: who is told, and how long its stages take."""

    emit: Emit
    cancelled: Callable[[], bool]
    told: set[str]  # warnings that need not be told again
    warnings: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def hear(self, event: Event) -> None:
        """Pass an event on. Raises UpdateCancelled, so that everything that tells of itself can be cancelled."""
        if self.cancelled():
            raise UpdateCancelled
        if isinstance(event, Warned):
            is_known = event.message in self.told or event.message in self.warnings
            self.warnings.append(event.message)
            if is_known:
                return
        self.emit(event)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure a stage."""
        began = time.monotonic()
        yield
        self.timings[stage] = self.timings.get(stage, 0.0) + time.monotonic() - began

    def finished(self, report: LiveReport) -> LiveReport:
        """A report with what is known of the run."""
        timings = self.timings | {"total": time.monotonic() - self.began}
        return dataclasses.replace(report, warnings=tuple(dict.fromkeys(self.warnings)), timings=timings)


class LiveModel:
    """The model of a folder, kept up to date.

    The head is the one that `retrain train` with the same options trains, bit for bit. With lbfgs, training begins with
    the last head and comes to the same optimum. If there are at least 100 different test pictures, or the folder comes
    with a test set, the figures are those of `train`, too. If there are fewer, every picture is tested by a head of one
    of five folds that was trained on the others.

    One thread may call `update` and `look_closer`, while others call `classify`.

    Args:
        image_dir: one sub-folder of pictures per class.
        options: as `retrain train` takes them, without tuning, distorted copies, fine-tuning and calibration.
        emit: called with events; see `retrain.events`. A warning that holds on is told once.
        cancelled: asked often during an update; once it says True, the update ends with UpdateCancelled.
        exclude: folders in the image folder that are no classes.
    Raises UsageError, ImageFolderError if there is no such folder, BackboneError.
    """

    def __init__(
        self,
        image_dir: str | os.PathLike[str],
        options: RunOptions = RunOptions(),
        emit: Emit = ignore,
        cancelled: Callable[[], bool] = never,
        exclude: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        _check(image_dir, options)
        self.image_dir = image_dir
        self._emit, self._cancelled, self._exclude = emit, cancelled, [options.extraction.cache_dir, *exclude]
        self._of_network: list[str] = []  # warnings of choosing it, which hold on
        self._backbone, self.options = choose_backbone(options, self._keeping(emit))
        self._pictures: LivePictures | None = None  # until the folder can be listed
        self._pool: LivePictures | None = None  # of unlabelled pictures
        self._model: _Model | None = None  # the last one
        self._report = LiveReport(0, problem="no update yet")  # the last one: of a model, or of a problem
        self._look_alikes = LookAlikes(PictureFiles(image_dir, options.images, options.backbone.depth))
        self._told = {*self._of_network}  # warnings of the last update

    def update(self) -> LiveReport:
        """Train on the folder as it is now.

        Returns: the last report, if nothing that matters has changed since. A folder that can't be trained gives a
        report that says why.
        Raises UpdateCancelled; RetrainError where neither folder nor disk is to blame.
        """
        run = _Run(self._emit, self._cancelled, self._told)
        folder, look = None, None
        try:
            with run.timed("scan"):
                folder = read_image_folder(self.image_dir, self._exclude, run.hear)
                check_no_strangers(folder)
                labels = class_labels(folder.class_names, self.options.labels.labels_file, emit=run.hear)
            with run.timed("extraction"):
                look = self._look(folder, run.hear)
            if self._is_current(look, labels):
                self._report = dataclasses.replace(self._report, waiting=look.waiting)
            else:
                self._model = self._trained(look, labels, run)
                self._report = self._model.report
        except _USERS_OWN as error:
            self._report = self._untrained(str(error), folder, look, run)
        self._told = {*run.warnings}
        return self._report

    def _look(self, folder: LabelledPictures, emit: Emit) -> Look:
        look = self._opened(folder, emit).look(folder, emit)
        loss = summarize_left_out(folder, look.skipped).warning()
        if loss:
            emit(Warned(loss))
        return look

    def _opened(self, folder: LabelledPictures, emit: Emit) -> LivePictures:
        """What knows the pictures; with some of them, since an extractor may be made from these."""
        if self._pictures is None:
            extractor = choose_extractor_for(folder, self._backbone, self.options, self._keeping(emit))
            self._pictures = LivePictures(extractor, self.options)
        for warning in self._of_network:
            emit(Warned(warning))
        return self._pictures

    def _keeping(self, emit: Emit) -> Emit:
        """Tells the same, and keeps what is warned of the network."""

        def hear(event: Event) -> None:
            if isinstance(event, Warned):
                self._of_network.append(event.message)
            emit(event)

        return hear

    def _is_current(self, look: Look, labels: Sequence[str]) -> bool:
        """Whether the last report is of a model of these very pictures."""
        model = self._model
        return (
            self._report.problem is None
            and model is not None
            and model.judged.names == tuple(labels)
            and model.look.is_like(look)
        )

    def _untrained(self, problem: str, folder: LabelledPictures | None, look: Look | None, run: _Run) -> LiveReport:
        """The report of a problem; the last one, if that was the same."""
        before = self._model.report if self._model else None
        report = untrained_report(self._report.version + 1, problem, folder, before)
        if look:
            report = dataclasses.replace(report, skipped=look.skipped, waiting=look.waiting, extracted=look.extracted)
        last = self._report
        if (last.problem, last.pictures, last.skipped) == (problem, report.pictures, report.skipped):
            return dataclasses.replace(last, waiting=report.waiting)
        return run.finished(report)

    def _trained(self, look: Look, labels: tuple[str, ...], run: _Run) -> _Model:
        """Check the pictures, train and test. Raises ImageFolderError, TrainingError, CacheError, UsageError."""
        options, folder = self.options, look.folder
        check_class_counts(folder, look.counts(), run.hear)
        check_ready_made_split(folder, options, run.hear)
        check_training(folder, options)
        for check in (check_contradictions, check_copies, check_leaks):
            check(look, run.hear)
        sets = np.array(assign_sets(look.samples, look.keys, options.split, folder.spelling))
        members = {name: np.flatnonzero(sets == name) for name in SETS}
        of_sets = {name: look.labels[chosen] for name, chosen in members.items()}
        check_sets(labels, of_sets, folder.has_subsets, options, run.hear)
        vectors = self._opened(folder, run.hear).vectors(look.keys)
        run.hear(StageBegan("training"))
        with run.timed("training"):
            from retrain.training import HeadTrainer

            training = _with_curve(options.training)
            run.hear(training_began(training.with_steps(len(members["train"])), len(members["train"])))
            data = LabelledBottlenecks(vectors, look.labels).weighted(training.weights_of(labels))
            trainer = HeadTrainer(data, len(labels), self._start(labels))
            trained = trainer.train(members["train"], members["validation"], training, run.hear)
            for warning in trained.warnings(training.resolved(len(members["train"]))):
                run.hear(Warned(warning))
        samples = look.samples
        judged = JudgedPictures(
            labels,
            [sample.path for sample in samples],
            sets,
            look.labels,
            look.keys,
            vectors,
            trained.head,
            [sample.group for sample in samples],
        )
        return self._tested(_Model(look, judged, None, self._report), _curve(trained), run)

    def _tested(self, model: _Model, curve: tuple[CurveStep, ...], run: _Run) -> _Model:
        """The model with its report, and with the heads of folds if it is tested by these."""
        look, judged, folds = model.look, model.judged, None
        run.hear(StageBegan("evaluation"))
        with run.timed("evaluation"):
            members = judged.members("test")
            if len(members) >= FEW_TESTED or (len(members) and look.folder.has_subsets):
                tested = Answers(members, judged.given[:, 0], judged.scores[:, 0], "test set")
            else:
                folds = train_folds(judged, look.samples, self.options.training, run.hear)
                tested = _tested_by(folds, judged)
            before = self._model.report if self._model else None
            version = self._report.version + 1
            report = live_report(version, judged, tested, look.folder.class_names, before)
        report = dataclasses.replace(
            report, curve=curve, skipped=look.skipped, waiting=look.waiting, extracted=look.extracted
        )
        return dataclasses.replace(model, folds=folds, report=run.finished(report))

    def _start(self, labels: Sequence[str]) -> Head | None:
        """Where training begins: with the last head, if training ends at the same optimum wherever it begins."""
        training = self.options.training
        if self._model is None or training.optimizer != "lbfgs" or training.hidden_units or training.patience:
            return None
        [layer] = self._model.judged.head.layers
        places = {label: place for place, label in enumerate(self._model.judged.names)}
        known = [place for place, label in enumerate(labels) if label in places]
        before = [places[labels[place]] for place in known]
        weights = np.zeros((layer.weights.shape[0], len(labels)), np.float32)
        biases = np.zeros(len(labels), np.float32)
        weights[:, known], biases[known] = layer.weights[:, before], layer.biases[before]
        return Head((Layer(weights, biases),))

    def look_closer(self) -> LiveReport:
        """The last report, with what takes seconds: suspects, and copies across sets.

        Raises UpdateCancelled. Pictures that were compared until then, and heads once all are trained, are kept.
        """
        model, run = self._model, _Run(self._emit, self._cancelled, self._told)
        if model is None or self._report.problem is not None:
            return self._report
        if model.folds is None:
            samples = model.look.samples
            model = dataclasses.replace(
                model, folds=train_folds(model.judged, samples, self.options.training, run.hear)
            )
            self._model = model
        copies = self._look_alikes.find(
            model.judged, lambda done, total: run.hear(Reported("comparing pictures", done, total))
        )
        suspects = suspects_of(model.judged, model.folds)
        self._report = dataclasses.replace(self._report, suspects=suspects, copies_across_sets=copies)
        self._model = dataclasses.replace(model, report=self._report)
        return self._report

    def label_next(self, unlabelled: str | os.PathLike[str], count: int = 100) -> tuple[PictureToLabel, ...]:
        """The unlabelled pictures whose labels would help most, in the order of `retrain label-next`.

        The last model judges them; without one, what is typical comes first.

        Args:
            unlabelled: a folder of pictures, at any depth. Paths are relative to it.
            count: of pictures, at most.
        Raises UpdateCancelled, ImageFolderError, CacheError, BackboneError.
        """
        run, model = _Run(self._emit, self._cancelled, self._told), self._model
        folder = read_unlabelled(unlabelled, model.look.folder if model else None, self._exclude)
        if self._pool is None:
            self._pool = LivePictures(self._opened(folder, run.hear).extractor, self.options)
        look = self._pool.look(folder, run.hear)
        own = different(look.keys, look.labels)
        vectors = SomeVectors(self._pool.vectors(look.keys), own)
        paths = [sample.path for sample in look.samples]
        pool = Unlabelled([paths[number] for number in own.tolist()], np.zeros((len(own), 0)), vectors)
        if model is None:
            return pool.most_helpful(np.zeros((0, vectors.shape[1]), np.float32), (), count)
        judged = model.judged
        pool = dataclasses.replace(pool, scores=judged.head.scores(vectors))
        return pool.most_helpful(SomeVectors(judged.vectors, judged.all_different), judged.names, count)

    def load_network(self) -> None:
        """Load the network before it is needed. Where it can't be loaded, whoever needs it gets the error."""
        if self._pictures:
            with contextlib.suppress(BackboneError):
                _ = self._pictures.extractor.network

    def classify(self, contents: Sequence[bytes]) -> list[Prediction]:
        """What the last model says of pictures, given as the contents of their files, in their order.

        Raises TrainingError while there is no model.
        """
        model, pictures = self._model, self._pictures
        if model is None or pictures is None:
            raise TrainingError(f"there is no model yet: {self._report.problem}")
        return [_prediction(content, model, pictures.extractor, self.options.images.max_pixels) for content in contents]

    def save(self, model_dir: str | os.PathLike[str]) -> WrittenModel:
        """Write the model folder of the pictures as they are now, as `retrain train` with the same options does.

        Raises RetrainError.
        """
        return train(self.image_dir, model_dir, self.options, self._emit)


def _check(image_dir: str | os.PathLike[str], options: RunOptions) -> None:
    """Raises UsageError for what can't be kept up to date, ImageFolderError if there is no folder to begin with."""
    if not os.path.exists(image_dir):  # a misspelt name, more likely than a folder that is still to come
        raise ImageFolderError(
            f"no such image folder: {display_path(image_dir)}; give a folder with one sub-folder of pictures per class"
        )
    if os.path.isfile(image_dir):
        raise UsageError(f"{display_path(image_dir)} is a file: give an image folder, since a manifest is not watched")
    unwanted = [
        flag
        for flag, is_given in (
            ("--tune", options.tuning.tune),
            ("--augment", options.augmentation.augment),
            ("--fine-tune-from and --fine-tune-layers", options.fine_tuning.is_wanted),
            ("--calibrate", options.evaluation.calibrate),
            ("--multi-label", options.labels.multi_label),
            ("--reject", options.evaluation.reject),
        )
        if is_given
    ]
    if unwanted:
        raise UsageError(
            f"a model that follows its folder is a plain head: leave {unwanted[0]} out, and use it with retrain train"
        )


def _with_curve(options: TrainingOptions) -> TrainingOptions:
    """The same training, evaluated less often; with patience, evaluations decide when it ends."""
    if options.patience or options.optimizer == "lbfgs":
        return options
    return dataclasses.replace(options, eval_step_interval=max(_CURVE_STEPS, options.eval_step_interval))


def _curve(trained: "TrainedHead") -> tuple[CurveStep, ...]:
    rows = trained.history
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_CURVE_STEPS)).astype(np.int64)).tolist()
    return tuple(CurveStep(row.step, row.train_accuracy, row.validation_accuracy) for row in (rows[n] for n in chosen))


def _tested_by(folds: FoldHeads | None, judged: JudgedPictures) -> Answers:
    """What heads of folds say of the pictures that they never saw."""
    answers = np.full(len(judged), -1, np.int64)
    scores = np.zeros(len(judged))
    count = len(folds.heads) if folds else 0
    for numbers, part in folds.scores() if folds else ():
        answers[numbers] = part.argmax(axis=1)
        scores[numbers] = part.max(axis=1)
    chosen = judged.all_different
    return Answers(chosen[answers[chosen] >= 0], answers, scores, f"cross-validated in {counted(count, 'fold')}")


def _prediction(content: bytes, model: _Model, extractor: "Extractor", max_pixels: int) -> Prediction:
    network = extractor.network
    try:
        pixels = decode_image(content, extractor.form, max_pixels)
    except UnreadableImageError as error:
        return Prediction("", None, None, {}, str(error))
    vector = np.asarray(network.bottlenecks(pixels[np.newaxis]), np.float32)
    scores = model.judged.head.scores(vector)[0].tolist()
    return Prediction.of("", model.judged.names, scores)
