"""A model that follows its folder: it learns of changes alone, says what `train` says, and never of half a file."""

import os
import shutil

import numpy as np
import pytest
from support.hearing import warnings_to
from support.live import aged, counting_backbone, live_model, live_options, move, of_set
from support.pictures import draw_picture

from retrain.errors import ImageFolderError, TrainingError, UsageError
from retrain.events import Evaluated, Extracted, Reported, Warned
from retrain.model.head import softmax
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    EvaluationOptions,
    FineTuningOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
    TuningOptions,
)
from retrain.pipeline import live, live_pictures
from retrain.pipeline.live import LiveModel, UpdateCancelled
from retrain.pipeline.train import train_model


@pytest.fixture
def backbone(monkeypatch):
    return counting_backbone(monkeypatch)


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 20, "dog": 20, "owl": 20})


def test_a_moved_picture_is_known_and_a_new_one_is_extracted_alone(root, backbone):
    model = live_model(root)
    first = model.update()
    assert (first.version, first.problem, first.extracted, backbone.count) == (1, None, 60, 60)
    assert [(found.label, found.pictures) for found in first.classes] == [("cat", 20), ("dog", 20), ("owl", 20)]
    target = move(root, "cat/cat_003.png", "dog")
    second = model.update()
    assert (second.version, second.extracted, backbone.count) == (2, 0, 60)
    assert second.changes.relabelled == 1
    assert next(picture.label for picture in second.pictures if picture.path == target) == "dog"
    draw_picture(99, 0).save(root / "cat" / "new.png")
    third = model.update()
    assert (third.extracted, backbone.count, third.changes.added) == (1, 61, 1)
    assert [figure.version for figure in third.history] == [1, 2, 3]
    assert {"scan", "extraction", "training", "evaluation", "total"} == {*third.timings}


def test_nothing_is_trained_where_nothing_changed(root, backbone):
    model = live_model(root)
    first = model.update()
    shutil.copy(root / "cat" / "cat_000.png", root / "cat" / ".hidden.png")
    assert model.update() == first


def test_the_same_folder_gives_the_same_model_whatever_came_between(root, backbone):
    model = live_model(root)
    first = model.update()
    target = move(root, "cat/cat_003.png", "dog")
    model.update()
    os.rename(root / target, root / "cat" / "cat_003.png")
    again = model.update()
    assert (again.pictures, again.headline.accuracy) == (first.pictures, first.headline.accuracy)


def test_it_trains_what_train_trains(tiny_backbone, make_folder, monkeypatch):
    monkeypatch.setattr("retrain.pipeline.live.FEW_TESTED", 1)
    root = make_folder({"cat": 12, "dog": 12})
    options = RunOptions(backbone=BackboneOptions(backbone=str(tiny_backbone)), training=TrainingOptions(steps=70))
    model = LiveModel(root, options)
    model.update()
    move(root, "cat/cat_003.png", "dog")
    report = model.update()
    trained = train_model(root, options)
    mine, theirs = model._model.judged.head.layers[0], trained.trained.head.layers[0]
    assert mine.weights.tobytes() == theirs.weights.tobytes()
    assert mine.biases.tobytes() == theirs.biases.tobytes()
    assert [(p.path, p.set, p.answer) for p in report.pictures] == [
        (p.path, p.set, p.predicted) for p in trained.result.pictures
    ]
    test = trained.result.metrics["test"]
    assert report.headline.how == "test set"
    assert (report.headline.accuracy, report.headline.interval) == (test.accuracy, test.accuracy_interval)
    assert report.confusion == test.confusion_matrix


def test_lbfgs_begins_with_the_last_head_and_ends_at_the_same_optimum(root, backbone):
    options = {"optimizer": "lbfgs", "l2": 0.05, "steps": 500}
    steps = []

    def count(event):
        steps.extend([event] if isinstance(event, Evaluated) else [])

    model = live_model(root, count, eval_step_interval=1, **options)
    model.update()
    move(root, "cat/cat_003.png", "dog")
    steps.clear()
    model.update()
    warm = len(steps)
    steps.clear()
    cold = live_model(root, count, eval_step_interval=1, **options)
    cold.update()
    assert warm < len(steps)
    scores = [softmax(each._model.judged.head.logits(each._model.judged.vectors)) for each in (model, cold)]
    assert np.abs(scores[0] - scores[1]).max() < 0.01


def test_a_new_class_starts_beside_the_last_head(root, backbone):
    model = live_model(root, optimizer="lbfgs", l2=0.05)
    model.update()
    (root / "bee").mkdir()
    for number in range(20):
        draw_picture(number, 3).save(root / "bee" / f"{number}.png")
    report = model.update()
    assert report.labels == ("bee", "cat", "dog", "owl")
    start = model._start(("cat", "bee", "gnu"))
    assert np.array_equal(start.layers[0].weights[:, :2], model._model.judged.head.layers[0].weights[:, [1, 0]])
    assert not start.layers[0].weights[:, 2].any()


def test_vectors_that_don_t_fit_into_memory_are_read_from_the_cache(root, backbone):
    reports = [live_model(root, max_memory=limit).update() for limit in (None, 0)]
    assert reports[0].pictures == reports[1].pictures


@pytest.mark.parametrize(
    ("breakage", "problem"),
    [
        (lambda root: [shutil.move(root / name, root.parent) for name in ("dog", "owl")], "only one class"),
        (lambda root: [path.unlink() for path in sorted((root / "owl").iterdir())[2:]], "fewer than 3 pictures"),
        (lambda root: [path.write_bytes(b"") for path in sorted((root / "owl").iterdir())], "fewer than 3 pictures"),
        (lambda root: root.rename(root.parent / "gone"), "no such image folder"),
        (lambda root: shutil.copytree(root / "owl", root / "_none_"), "has pictures of no class (_none_)"),
    ],
)
def test_a_folder_that_can_t_be_trained_says_why_and_recovers(root, backbone, breakage, problem):
    kept = root.parent / "kept"
    shutil.copytree(root, kept)
    model = live_model(root)
    first = model.update()
    breakage(root)
    broken = model.update()
    assert problem in broken.problem
    assert (broken.version, broken.headline, broken.history) == (2, None, first.history)
    assert model.update() == broken  # told once
    assert model.classify([(kept / "cat" / "cat_000.png").read_bytes()])[0].label is not None
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(kept, root)
    solved = model.update()
    assert (solved.version, solved.problem, solved.extracted) == (3, None, 0)
    assert solved.headline.accuracy == first.headline.accuracy
    assert solved.changes.relabelled == solved.changes.added == 0


def test_what_was_warned_of_the_network_stays_in_every_report_and_is_told_once(root, backbone, monkeypatch):
    choose, choose_extractor = live.choose_backbone, live.choose_extractor_for
    for name, chosen in (("choose_backbone", choose), ("choose_extractor_for", choose_extractor)):

        def choose_another(*given, name=name, chosen=chosen):
            given[-1](Warned(f"{name}: another network"))
            return chosen(*given)

        monkeypatch.setattr(live, name, choose_another)
    wanted = {"choose_backbone: another network", "choose_extractor_for: another network"}
    told = []
    model = live_model(root, emit=warnings_to(told.append))
    assert wanted <= {*model.update().warnings}
    (root / "cat" / "cat_000.png").rename(root / "dog" / "moved.png")
    assert wanted <= {*model.update().warnings}
    assert [told.count(warning) for warning in wanted] == [1, 1]


def test_pictures_of_a_folder_that_can_t_be_trained_are_there(make_folder, backbone):
    report = live_model(make_folder({"cat": 4})).update()
    assert "only one class (cat)" in report.problem
    assert next((picture.path, picture.answer) for picture in report.pictures) == ("cat/cat_000.png", None)
    assert [(found.label, found.pictures) for found in report.classes] == [("cat", 4)]


def test_half_a_file_is_waited_for_and_not_told_as_broken(root, backbone):
    model = live_model(root)
    model.update()
    place, whole = root / "cat" / "slow.png", (root / "cat" / "cat_000.png").read_bytes()
    draw_picture(77, 0).save(place)
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    report = model.update()
    assert (report.version, report.waiting, report.skipped) == (1, ("cat/slow.png",), {})
    place.write_bytes(whole)
    report = model.update()
    assert (report.version, report.waiting, report.changes.added) == (2, (), 1)


def test_a_file_that_is_written_while_it_is_looked_at_is_waited_for(root, backbone, monkeypatch):
    model = live_model(root)
    model.update()
    place = root / "cat" / "slow.png"
    draw_picture(78, 0).save(place)
    more = iter([b"more"])

    def write_more(_):
        with place.open("ab") as file:
            file.write(next(more))

    monkeypatch.setattr(live_pictures.time, "sleep", write_more)
    assert model.update().waiting == ("cat/slow.png",)
    assert backbone.count == 60
    monkeypatch.setattr(live_pictures.time, "sleep", lambda _: None)
    report = model.update()
    assert (report.waiting, report.extracted) == ((), 1)


def test_a_file_that_stays_broken_is_skipped(root, backbone, monkeypatch):
    monkeypatch.setattr(live_pictures, "_YOUNG_SECONDS", 0)
    model = live_model(root)
    aged(root / "cat" / "cat_000.png").write_bytes(b"GIF89a")
    report = model.update()
    assert [*report.skipped] == ["cat/cat_000.png"]
    assert report.waiting == ()
    os.symlink("nowhere", root / "cat" / "link.png")
    assert [*model.update().skipped] == ["cat/cat_000.png", "cat/link.png"]
    assert model.update().version == 2


def test_an_update_that_is_cancelled_keeps_what_it_extracted(root, backbone):
    stopped = []

    def stop(event):
        if isinstance(event, Extracted) and event.extracted >= 32:
            stopped.append(event)

    model = live_model(root, stop, lambda: bool(stopped))
    with pytest.raises(UpdateCancelled):
        model.update()
    counted = backbone.count
    assert counted >= 32
    stopped.append(None)
    with pytest.raises(UpdateCancelled):
        model.update()
    model._cancelled = lambda: False
    report = model.update()
    assert (report.version, report.problem, backbone.count) == (1, None, 60)


def test_training_is_cancelled_in_the_middle_and_the_last_model_stays(root, backbone):
    evaluated = []
    model = live_model(root, lambda event: evaluated.append(event) if isinstance(event, Evaluated) else None)
    first = model.update()
    move(root, "cat/cat_003.png", "dog")
    evaluated.clear()
    model._cancelled = lambda: bool(evaluated)
    with pytest.raises(UpdateCancelled):
        model.update()
    assert model.classify([(root / "dog" / "dog_000.png").read_bytes()])[0].label is not None
    model._cancelled = lambda: False
    assert model.update().version == first.version + 1


def test_a_warning_that_holds_on_is_told_once(root, backbone):
    warnings = []
    shutil.copy(root / "cat" / "cat_000.png", root / "dog" / "cat_000.png")
    model = live_model(root, warnings_to(warnings.append))
    assert any("in several classes" in text for text in model.update().warnings)
    move(root, "owl/owl_000.png", "dog")
    assert any("in several classes" in text for text in model.update().warnings)
    assert sum("in several classes" in text for text in warnings) == 1


def test_few_pictures_are_cross_validated_and_many_are_not(make_folder, backbone, monkeypatch):
    root = make_folder({"cat": 40, "dog": 40})
    report = live_model(root).update()
    assert report.headline.how == "cross-validated in 5 folds"
    assert report.headline.pictures == 80
    monkeypatch.setattr("retrain.pipeline.live.FEW_TESTED", 5)
    report = live_model(root).update()
    tested = [picture for picture in report.pictures if picture.is_tested]
    assert report.headline.how == "test set"
    assert {picture.set for picture in tested} == {"test"}
    assert len(tested) == report.headline.pictures


def test_a_test_set_that_the_folder_comes_with_is_used_however_small(make_folder, backbone):
    root = make_folder({"train/cat": 9, "train/dog": 9, "test/cat": 3, "test/dog": 3})
    report = live_model(root).update()
    assert (report.headline.how, report.headline.pictures) == ("test set", 6)


def test_a_class_whose_pictures_are_all_the_same_is_not_tested(make_folder, backbone):
    root = make_folder({"cat": 10, "dog": 10})
    (root / "same").mkdir()
    for number in range(4):
        shutil.copy(root / "cat" / "cat_000.png", root / "same" / f"{number}.png")
    for path in (root / "same").iterdir():
        draw_picture(5, 2).save(path)
    report = live_model(root).update()
    assert {found.label: found.tested for found in report.classes} == {"cat": 10, "dog": 10, "same": 0}
    assert {picture.answer for picture in report.pictures if picture.label == "same"} == {None}


def test_a_closer_look_finds_suspects_and_copies_across_sets(root, backbone, monkeypatch):
    wrong = move(root, "owl/owl_004.png", "cat")
    model = live_model(root, steps=400)
    assert model.look_closer().problem == "no update yet"
    report = model.update()
    assert (report.suspects, report.copies_across_sets) == (None, None)
    [(path, picture)] = [(p.path, p) for p in of_set(report, "test") if p.label == "dog"][:1]
    again = draw_picture(int(path[-7:-4]), 1)
    for shade in range(1, 40):  # a copy that was saved again, until one falls into another set
        again.putpixel((0, 0), (shade, 0, 0))
        again.save(root / "dog" / "again.png")
        report = model.update()
        if next(p.set for p in report.pictures if p.path == "dog/again.png") != picture.set:
            break
    closer = model.look_closer()
    assert closer.version == report.version
    assert wrong in [suspect.path for suspect in closer.suspects]
    assert "looks like owl" in closer.suspects[0].why
    assert {*closer.copies_across_sets[0].paths} == {path, "dog/again.png"}
    assert "look the same, in the sets" in closer.copies_across_sets[0].why
    assert model.update() == closer


def test_a_closer_look_goes_on_where_it_was_cancelled(root, backbone, monkeypatch):
    monkeypatch.setattr("retrain.report.look_alikes._BLOCK", 20)
    compared = []

    def watch(event):
        compared.extend([event.done] if isinstance(event, Reported) else [])

    model = live_model(root, watch)
    model.update()
    model._cancelled = lambda: len(compared) == 2
    with pytest.raises(UpdateCancelled):
        model.look_closer()
    assert compared == [0, 20]
    model._cancelled = lambda: False
    assert model.look_closer().suspects is not None
    assert compared == [0, 20, 0]


def test_unlabelled_pictures_are_ordered_by_the_last_model(root, backbone):
    pool = root.parent / "unlabelled"
    (pool / "deep").mkdir(parents=True)
    for label in range(3):
        draw_picture(50, label).save(pool / "deep" / f"{label}.png")
    shutil.copy(root / "cat" / "cat_000.png", pool / "known.png")
    shutil.copy(pool / "deep" / "0.png", pool / "twice.png")
    (pool / "broken.png").write_text("no picture")
    aged(pool / "broken.png")
    model = live_model(root, steps=400)
    before = model.label_next(pool)
    assert {found.path for found in before} == {"deep/0.png", "deep/1.png", "deep/2.png", "known.png"}
    assert backbone.count == 4
    model.update()
    found = model.label_next(pool)
    assert {next(iter(each.scores)) for each in found if each.path == "deep/2.png"} == {"owl"}
    assert len(model.label_next(pool, 2)) == 2
    assert backbone.count == 4 + 59
    os.rename(pool / "deep" / "2.png", root / "owl" / "labelled.png")
    assert model.update().extracted == 0
    assert "deep/2.png" not in [each.path for each in model.label_next(pool)]
    with pytest.raises(ImageFolderError, match="does not exist"):
        model.label_next(root / "nowhere")


def test_it_classifies_what_is_not_in_the_folder(root, backbone):
    model = live_model(root, steps=400)
    with pytest.raises(TrainingError, match="there is no model yet: no update yet"):
        model.classify([b""])
    model.update()
    found = model.classify([(root / "owl" / "owl_001.png").read_bytes(), b"no picture"])
    assert found[0].label == "owl"
    assert sum(found[0].scores.values()) == pytest.approx(1)
    assert (found[1].label, found[1].error) == (None, "text, not a picture")


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"tuning": TuningOptions(tune=True)}, "--tune"),
        ({"augmentation": AugmentationOptions(augment=1, flip=True)}, "--augment"),
        ({"fine_tuning": FineTuningOptions(fine_tune_layers=1)}, "--fine-tune-from and --fine-tune-layers"),
        ({"evaluation": EvaluationOptions(calibrate=True)}, "--calibrate"),
        ({"evaluation": EvaluationOptions(reject=0.9)}, "--reject"),
    ],
)
def test_what_takes_too_long_is_refused(root, backbone, options, flag):
    with pytest.raises(UsageError, match=f"leave {flag} out"):
        LiveModel(root, RunOptions(**options))


def test_a_manifest_is_refused(root, backbone):
    (root / "list.csv").write_text("path,label\n")
    with pytest.raises(UsageError, match="give an image folder"):
        LiveModel(root / "list.csv", live_options())


def test_options_that_the_folder_can_t_meet_are_errors(root, backbone):
    options = RunOptions(training=TrainingOptions(patience=5), split=SplitOptions(validation_percentage=0))
    with pytest.raises(UsageError, match="--patience needs validation pictures"):
        LiveModel(root, options).update()
