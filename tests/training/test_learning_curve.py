import numpy as np
import pytest

from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.metrics import evaluate_logits
from retrain.options import BackboneOptions, EvaluationOptions, RunOptions, TrainingOptions
from retrain.pipeline.train import IntermediateGraphs, train_model
from retrain.training.head_trainer import HeadTrainer, Snapshots
from retrain.training.learning_curve import CurveRecorder, curve_steps

NAMES = ["cat", "dog"]


def noisy(n=60):
    rng = np.random.default_rng(3)
    labels = (np.arange(n) % 2).astype(np.int32)
    return LabelledBottlenecks((rng.normal(0, 1, (n, 8)) + labels[:, None]).astype(np.float32), labels)


MEMBERS = {"train": np.arange(40), "validation": np.arange(40, 50), "test": np.arange(50, 60)}


def curve_of(options, members=MEMBERS):
    """The curve, the head, and what the trainer gave after some steps."""
    data, heads = noisy(), {}
    options = options.with_steps(40)
    recorder = CurveRecorder(data, members, options)

    def take(step, head):
        heads[step] = head
        recorder.measure(step, head)

    snapshots = Snapshots(recorder.steps, take)
    trained = HeadTrainer(data, 2).train(members["train"], members["validation"], options, snapshots=snapshots)
    return recorder.finish(trained.steps, trained.head), trained, heads


@pytest.mark.parametrize(
    ("values", "pictures", "expected"),
    [
        ({"steps": 4000}, 500, list(range(200, 4001, 200))),
        ({"steps": 50}, 500, [2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37, 40, 42, 45, 47, 50]),
        ({"steps": 3}, 500, [1, 2, 3]),
        ({"epochs": 3}, 450, [5, 9, 14]),
        ({"epochs": 2.5}, 400, [4, 8, 10]),
        ({"epochs": 0.1}, 400, [1]),
        ({"epochs": 7}, 30, [1, 2, 3]),  # several epochs in a step
        ({"epochs": 4, "optimizer": "lbfgs"}, 400, [1, 2, 3, 4]),
    ],
)
def test_heads_are_measured_at_the_end_of_epochs_or_at_even_steps(values, pictures, expected):
    assert list(curve_steps(TrainingOptions(**values).with_steps(pictures), pictures)) == expected


@pytest.mark.parametrize("epochs", [100, 101, 150, 999.5, 5000])
def test_many_epochs_are_measured_a_hundred_times_at_their_ends(epochs):
    steps = curve_steps(TrainingOptions(epochs=epochs, batch_size=10).with_steps(500), 500)
    assert len(steps) in (100, 101)
    assert steps[0] == 50
    assert steps[-1] == epochs * 50
    assert all(step % 50 == 0 for step in steps[:-1])
    gaps = np.diff(steps[:-1])
    assert gaps.max() - gaps.min() <= 50


@pytest.mark.parametrize("values", [{"steps": 60}, {"epochs": 6.5, "batch_size": 8}, {"steps": 60, "patience": 3}])
def test_points_are_the_figures_of_all_pictures_after_so_many_steps(values):
    options = TrainingOptions(learning_rate=0.5, **values)
    curve, trained, heads = curve_of(options)
    data = noisy()
    assert len(curve) >= 2
    for point in curve:
        head = trained.head if point is curve[-1] else heads[point.step]
        assert point.epoch == pytest.approx(point.step * (options.batch_size or 100) / 40)
        for name, chosen in MEMBERS.items():
            metrics = evaluate_logits(head.logits(data.vectors[chosen]), data.labels[chosen], NAMES)
            assert point.figures[name] == pytest.approx((metrics.accuracy, metrics.cross_entropy))
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert curve[-1].step == trained.steps


def test_of_lbfgs_every_step_is_measured_until_there_are_too_many():
    curve, trained, _ = curve_of(TrainingOptions(optimizer="lbfgs", l2=1e-5))
    assert 3 <= len(curve) <= 42
    assert curve[-1].step == trained.steps < 4000
    recorder = CurveRecorder(noisy(), MEMBERS, TrainingOptions(optimizer="lbfgs", steps=4000))
    for step in range(1, 131):
        recorder.measure(step, trained.head)
    assert [point.step for point in recorder.finish(131, trained.head)] == [*range(4, 131, 4), 131]


def test_sets_without_pictures_are_left_out():
    members = {"train": np.arange(60), "validation": np.arange(0), "test": np.arange(0)}
    curve, _, _ = curve_of(TrainingOptions(steps=10), members)
    assert all(list(point.figures) == ["train"] for point in curve)


def test_measuring_changes_no_weight():
    _, with_curve, _ = curve_of(TrainingOptions(steps=150))
    trained = HeadTrainer(noisy(), 2).train(MEMBERS["train"], MEMBERS["validation"], TrainingOptions(steps=150))
    assert np.array_equal(trained.head.layers[0].weights, with_curve.head.layers[0].weights)


def test_a_run_measures_beside_the_graphs_of_others(make_folder, tiny_backbone):
    root, theirs = make_folder({"cat": 20, "dog": 20}), []
    graphs = IntermediateGraphs([3, 4, 8], lambda step, head, graph: theirs.append(step))
    options = RunOptions(
        backbone=BackboneOptions(str(tiny_backbone)),
        training=TrainingOptions(epochs=2, batch_size=8),
        evaluation=EvaluationOptions(plots=True),
    )
    result = train_model(root, options, intermediate=graphs).result
    assert theirs == [3, 4, 8]
    assert [point.step for point in result.curve] == [5, 9]  # 35 pictures, 8 a step
    assert result.curve[-1].figures["test"][1] == pytest.approx(result.metrics["test"].cross_entropy)
    assert train_model(root, RunOptions(backbone=options.backbone)).result.curve == []
