import dataclasses
import json

import numpy as np
import pytest
from support.hearing import hearing, warnings_to
from support.pictures import TINY_SIZE

from retrain.cli import main as cli
from retrain.errors import ImageFolderError, UsageError
from retrain.events import Extracted, FoldTested
from retrain.options import BackboneOptions, CrossValidationOptions, FineTuningOptions, RunOptions, TrainingOptions
from retrain.pipeline.crossval import cross_validate

FAST = TrainingOptions(steps=30, learning_rate=0.1)


def run_options(tiny_backbone, **training):
    backbone = BackboneOptions(backbone=str(tiny_backbone), input_size=TINY_SIZE)
    return RunOptions(backbone=backbone, training=dataclasses.replace(FAST, **training))


def test_a_folder_is_cross_validated(make_folder, tiny_backbone):
    seen = []
    emit = hearing(FoldTested, seen.append)
    options = run_options(tiny_backbone, steps=200)
    found = cross_validate(make_folder({"cat": 25, "dog": 26, "owl": 24}), CrossValidationOptions(4), options, emit)
    assert [(test.fold, test.folds) for test in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [test.accuracy for test in seen] == [fold.accuracy for fold in found.folds]
    assert sum(fold.n for fold in found.folds) == found.metrics.n == 75
    assert found.statistics.accuracy.mean == pytest.approx(np.mean([fold.accuracy for fold in found.folds]))
    assert found.metrics.accuracy > 0.9
    assert [c.n for c in found.statistics.per_class] == [25, 26, 24]
    document = json.loads(json.dumps(found.as_dict()))
    assert document["statistics"]["folds"] == len(document["folds"]) == 4
    assert np.sum(document["metrics"]["confusion_matrix"]) == 75
    assert "confusion_matrix" not in document["folds"][0]
    assert document["options"]["learning_rate"] == 0.1
    assert document["options"]["eval_step_interval"] == 10
    again = cross_validate("pictures", CrossValidationOptions(4), options)
    assert again.folds == found.folds


def test_pictures_of_no_class_are_left_out_and_told(make_folder, tiny_backbone):
    said = []
    folder = make_folder({"cat": 20, "dog": 20, "_none_": 2})
    found = cross_validate(folder, CrossValidationOptions(2), run_options(tiny_backbone), warnings_to(said.append))
    assert found.labels == ("cat", "dog")
    assert found.metrics.n == 40
    assert said == ["left out 2 files of _none_, which is no class: cross-validation is of classes"]


def test_copies_never_lie_on_both_sides(make_folder, tiny_backbone):
    """With every picture there twice, a head that had seen a copy would know its label by heart."""
    folder = make_folder({"cat": 12, "dog": 12})
    for path in list(folder.rglob("*.png")):
        (path.parent / f"copy_of_{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(ImageFolderError, match=r"fewer than 13 different pictures in class cat \(12\), dog \(12\)"):
        cross_validate(folder, CrossValidationOptions(13), run_options(tiny_backbone))
    found = cross_validate(folder, CrossValidationOptions(12), run_options(tiny_backbone))
    assert [(fold.n, fold.copies) for fold in found.folds] == [(2, 2)] * 12
    assert (found.metrics.n, found.metrics.copies, found.statistics.n) == (24, 24, 24)
    for path in list(folder.rglob("copy_of_*")):
        path.unlink()
    plain = cross_validate(folder, CrossValidationOptions(12), run_options(tiny_backbone))
    assert plain.metrics.accuracy_interval == found.metrics.accuracy_interval  # every picture right, or wrong, twice
    assert plain.statistics.accuracy.interval == found.statistics.accuracy.interval


def test_more_folds_than_pictures_are_refused_before_any_picture_is_read(make_folder, tiny_backbone):
    folder = make_folder({"cat": 8, "dog": 30})
    emit = hearing(Extracted, lambda _: pytest.fail("a picture was read"))
    with pytest.raises(
        ImageFolderError, match=r"--folds 10 is more than there are pictures \(8 of cat\).*lower --folds"
    ):
        cross_validate(folder, options=run_options(tiny_backbone), emit=emit)


def test_patience_wants_a_third_fold(make_folder, tiny_backbone):
    with pytest.raises(UsageError, match="--patience takes a fold for validation"):
        cross_validate(
            make_folder({"cat": 8, "dog": 30}), CrossValidationOptions(2), run_options(tiny_backbone, patience=5)
        )


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_fewer_than_two_folds_are_none(folds):
    with pytest.raises(UsageError, match=f"--folds {folds}: must be between 2"):
        CrossValidationOptions(folds=folds)


def test_what_speaks_against_a_fold_is_said(make_folder, tiny_backbone):
    said = []
    options = run_options(tiny_backbone, optimizer="lbfgs", learning_rate=None, steps=1)
    emit = warnings_to(said.append)
    cross_validate(make_folder({"cat": 25, "dog": 25}), CrossValidationOptions(2), options, emit)
    assert len(said) == 2
    for number, warning in enumerate(said, 1):
        assert warning.startswith(f"fold {number}: lbfgs did not reach an optimum in")


def test_the_command_prints_a_table_or_one_document(make_folder, tiny_backbone, capsys):
    folder = make_folder({"cat": 25, "dog": 26})
    command = ["crossval", str(folder), "--backbone", str(tiny_backbone), "--folds", "3", "--optimizer", "lbfgs"]
    assert cli.main(command) == 0
    output = capsys.readouterr()
    assert "over 3 folds of 51 pictures" in output.out
    assert "95% interval" in output.out
    assert "fold 3 of 3: accuracy" in output.err
    assert cli.main([*command, "--json", "--quiet"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["statistics"]["n"] == 51
    assert output.err == ""
    assert cli.main([*command, "--folds", "1"]) == 2
    assert "retrain: error: --folds 1: must be between 2" in capsys.readouterr().err


def test_fine_tuning_is_refused(make_folder, tiny_backbone):
    options = RunOptions(
        backbone=BackboneOptions(str(tiny_backbone)), fine_tuning=FineTuningOptions(fine_tune_layers=1)
    )
    with pytest.raises(UsageError, match="cross-validation is of heads: leave --fine-tune-from"):
        cross_validate(make_folder({"cat": 12, "dog": 12}), options=options)


def test_weights_of_labels_reach_every_head(make_folder, tiny_backbone):
    folder = make_folder({"cat": 12, "dog": 12})
    options = run_options(tiny_backbone, steps=100)
    plain, weighted = (
        cross_validate(folder, CrossValidationOptions(3), dataclasses.replace(options, training=training))
        for training in (options.training, dataclasses.replace(options.training, class_weight="dog=1000"))
    )
    given = [np.sum(found.metrics.confusion_matrix, axis=0)[1] for found in (plain, weighted)]
    assert given[1] > given[0]
    unknown = dataclasses.replace(options, training=dataclasses.replace(options.training, class_weight="owl=2"))
    with pytest.raises(UsageError, match="--class-weight names owl, and the labels are cat, dog: name some of these"):
        cross_validate(folder, CrossValidationOptions(3), unknown)
