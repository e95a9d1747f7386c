import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from support.pictures import TINY_LENGTH

from retrain.cli.console.training import describe_run
from retrain.errors import TrainingError, UsageError
from retrain.evaluation.metrics import evaluate_logits
from retrain.model.head import Head, Layer, read_head
from retrain.options import BackboneOptions, EvaluationOptions, RunOptions, SplitOptions, TrainingOptions
from retrain.pipeline.train import train
from retrain.training import calibration
from retrain.training.calibration import calibrate, fit_temperature


def drawn_case(n=20_000, classes=7, seed=0):
    """Logits, and labels drawn from their very scores: the temperature is 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes)).astype(np.float32)
    ends = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (rng.random((n, 1)) * ends[:, -1:] > ends).sum(axis=1).astype(np.int32)


def metrics_of(logits, labels):
    return evaluate_logits(logits, labels, [str(number) for number in range(logits.shape[1])])


@pytest.mark.parametrize("factor", [0.05, 0.5, 1, 3, 40])
def test_a_known_temperature_is_found(factor):
    logits, labels = drawn_case()
    assert fit_temperature(logits * np.float32(factor), labels) == pytest.approx(factor, rel=0.03)


def test_calibrated_scores_are_probabilities():
    logits, labels = drawn_case()
    sharp = logits * np.float32(3)
    fitted = metrics_of(sharp / np.float32(fit_temperature(sharp, labels)), labels)
    assert metrics_of(sharp, labels).expected_calibration_error > 0.15
    assert fitted.expected_calibration_error < 0.02
    assert fitted.cross_entropy < metrics_of(sharp, labels).cross_entropy - 0.3


def test_the_temperature_is_that_of_scikit_learn():
    """1.4793189: 1 / beta_ of scikit-learn 1.9.1's _TemperatureScaling().fit(logits, labels), of
    CalibratedClassifierCV(method="temperature").
    """
    n, classes = 300, 7
    labels = (np.arange(n) * 5 % classes).astype(np.int32)
    logits = 2 * np.sin(np.arange(n * classes, dtype=np.float64).reshape(n, classes) * 1.7)
    logits[np.arange(n), labels] += 1.5
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(1.4793189, rel=2e-4)


@given(st.integers(1, 30), st.integers(2, 6), st.floats(0.01, 50), st.integers(0, 2**32 - 1))
def test_cross_entropy_does_not_rise_nor_accuracy_change(n, classes, scale, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, classes)).astype(np.float32)
    labels = rng.integers(0, classes, n).astype(np.int32)
    temperature = fit_temperature(logits, labels)
    assert 0.01 <= temperature <= 100
    before, after = metrics_of(logits, labels), metrics_of(logits / np.float32(temperature), labels)
    assert after.cross_entropy <= before.cross_entropy * (1 + 1e-6) + 1e-7
    assert (after.accuracy, after.top_k_accuracy) == (before.accuracy, before.top_k_accuracy)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_where_all_are_right_scores_rise_no_higher_than_so_many_pictures_warrant(n):
    rng = np.random.default_rng(1)
    logits = rng.uniform(0, 1, (n, 4)).astype(np.float32)
    labels = rng.integers(0, 4, n).astype(np.int32)
    logits[np.arange(n), labels] = 1.5
    temperature = fit_temperature(logits, labels)
    assert 0.01 < temperature < 1
    top_scores = softmax(logits / np.float32(temperature), axis=1).max(axis=1)
    assert top_scores.mean() == pytest.approx((n + 1) / (n + 2), abs=1e-4)


def test_a_head_that_is_right_and_sure_is_left_as_it_is():
    assert fit_temperature(np.array([[30, 0], [0, 30]], np.float32), np.array([0, 1], np.int32)) == 1


def test_where_all_are_wrong_scores_say_nothing():
    logits, labels = np.array([[3, 0], [0, 4]], np.float32), np.array([1, 0], np.int32)
    assert fit_temperature(logits, labels) == pytest.approx(100, rel=1e-3)


def test_chunks_change_nothing(monkeypatch):
    logits, labels = drawn_case(n=500)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr(calibration, "_CHUNK_VALUES", 70)
    assert fit_temperature(logits, labels) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_tempered_head_gives_logits_divided_by_the_temperature(hidden):
    rng = np.random.default_rng(0)
    widths = [8, 5, 3] if hidden else [8, 3]
    layers = [
        Layer(rng.normal(size=(a, b)).astype(np.float32), rng.normal(size=b).astype(np.float32))
        for a, b in itertools.pairwise(widths)
    ]
    head, bottlenecks = Head(tuple(layers)), rng.random((40, 8), np.float32)
    tempered = head.tempered(2.5)
    assert tempered.logits(bottlenecks) == pytest.approx(head.logits(bottlenecks) / 2.5, rel=1e-5, abs=1e-6)
    assert [layer.weights.dtype for layer in tempered.layers] == [np.float32] * len(layers)
    assert [layer.biases.dtype for layer in tempered.layers] == [np.float32] * len(layers)
    assert tempered.layers[:-1] == head.layers[:-1]


def test_calibrating_a_head_says_what_it_did():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 300).astype(np.int32)
    bottlenecks = (np.eye(3)[labels] + rng.normal(0, 0.6, (300, 3))).astype(np.float32)
    head = Head((Layer(9 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),))
    tempered, done = calibrate(head, bottlenecks, labels)
    assert done.temperature > 1.5
    assert done.cross_entropy_before == pytest.approx(metrics_of(head.logits(bottlenecks), labels).cross_entropy)
    assert done.cross_entropy_after == pytest.approx(metrics_of(tempered.logits(bottlenecks), labels).cross_entropy)
    assert done.cross_entropy_after < done.cross_entropy_before


def options_for(backbone, calibrate=True, **split):
    return RunOptions(
        backbone=BackboneOptions(str(backbone)),
        split=SplitOptions(**split),
        training=TrainingOptions(steps=100),
        evaluation=EvaluationOptions(calibrate=calibrate),
    )


def test_a_run_leaves_the_calibrated_head(tiny_backbone, make_folder, tmp_path):
    folder = make_folder({"cat": 30, "dog": 30, "owl": 30})
    plain = train(folder, "plain", options_for(tiny_backbone, calibrate=False))
    model = train(folder, "model", options_for(tiny_backbone))
    done = model.result.calibration
    assert 0.01 <= done.temperature < 0.9  # after 100 steps of the tiny learning rate, scores are still near even
    for name, metrics in model.result.metrics.items():
        assert metrics.accuracy == plain.result.metrics[name].accuracy
    before, after = plain.result.metrics["validation"], model.result.metrics["validation"]
    assert done.cross_entropy_before == pytest.approx(before.cross_entropy)
    assert done.cross_entropy_after == pytest.approx(after.cross_entropy)
    assert after.cross_entropy < before.cross_entropy
    head, _ = read_head("model/head.h5")
    first, _ = read_head("plain/head.h5")
    assert head.layers[-1].weights == pytest.approx(first.layers[-1].weights / done.temperature, rel=1e-5)
    assert head.layers[-1].weights.shape == (TINY_LENGTH, 3)
    assert json.loads((tmp_path / "model" / "run.json").read_text())["temperature"] == done.temperature
    assert json.loads((tmp_path / "plain" / "run.json").read_text())["temperature"] is None
    change = f"{before.cross_entropy:.3f} -> {after.cross_entropy:.3f}"
    line = f"Calibrated: temperature {done.temperature:.2f} (validation cross-entropy {change})"
    assert line in describe_run(model.result, model.record, "model").splitlines()
    assert "Calibrated" not in describe_run(plain.result, plain.record, "plain")


def test_a_split_without_validation_is_refused_before_training(tiny_backbone, make_folder, monkeypatch):
    folder = make_folder({"cat": 30, "dog": 30})
    from retrain.pipeline import train as train_module

    monkeypatch.setattr(train_module, "assign_sets", lambda samples, *_: ["train"] * len(samples))
    with pytest.raises(TrainingError, match="the split of this folder has none"):
        train(folder, "model", options_for(tiny_backbone))


def test_folders_without_validation_are_refused_before_extraction(tiny_backbone, make_folder, tmp_path):
    folder = make_folder({"train/cat": 20, "train/dog": 20, "test/cat": 5, "test/dog": 5})
    with pytest.raises(UsageError, match=r"--calibrate needs validation pictures.*add some to the set validation"):
        train(folder, "model", options_for(tiny_backbone))
    with pytest.raises(UsageError, match=r"--calibrate needs validation pictures.*raise --validation-percentage"):
        train(folder / "train", "model", options_for(tiny_backbone, validation_percentage=0))
    assert not (tmp_path / "cache").exists()
