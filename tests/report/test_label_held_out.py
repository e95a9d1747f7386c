import numpy as np
from support.judged import keys_of

from retrain.model.head import Head, Layer
from retrain.options import TrainingOptions
from retrain.report.judged_labels import JudgedLabels
from retrain.report.label_held_out import judge_held_out

OPTIONS = TrainingOptions(optimizer="lbfgs", sampling="uniform", l2=0.01)


def planted(count=120, seed=0):
    """Pictures whose labels are almost said by their vectors; picture 7 lacks one, and picture 9 has one too many."""
    rng = np.random.default_rng(seed)
    has = rng.random((count, 3)) < 0.4
    has[7], has[9] = [True, True, False], [False, False, True]
    vectors = (4 * (2 * has - 1) + rng.normal(0, 1, has.shape)).astype(np.float32)
    has[7, 0], has[9, 1] = False, True
    sets, numbers = np.unique(has, axis=0, return_inverse=True)
    head = Head((Layer(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),), np.full(3, 0.5, np.float32))
    return JudgedLabels(
        ("leaf", "rose", "sky"),
        [f"{number}.png" for number in range(count)],
        np.full(count, "test"),
        numbers.reshape(-1).astype(np.int32),
        keys_of(range(count)),
        vectors,
        head,
        label_sets=sets,
    )


def test_heads_that_never_saw_a_picture_find_what_is_wrong_with_its_labels():
    pictures, told = planted(), []
    found = judge_held_out(pictures, OPTIONS, pictures.keys, lambda done, total: told.append((done, total)))
    first = {(one.number, one.label, one.has) for one in found.wrong[:2]}
    assert first == {(7, 0, False), (9, 1, True)}
    assert found.mean_average_precision.n == 120
    assert found.mean_average_precision.value > 0.9
    assert told == [(fold, 5) for fold in range(1, 6)]


def test_a_label_of_one_picture_is_no_hindrance():
    pictures = planted()
    sets = np.vstack([pictures.label_sets, [[True, True, True]]])
    sets = np.hstack([sets, np.zeros((len(sets), 1), bool)])
    sets[-1, 3] = True
    labels = pictures.labels.copy()
    labels[0] = len(sets) - 1
    other = JudgedLabels(
        (*pictures.names, "sun"),
        *(pictures.paths, pictures.sets, labels, pictures.keys, pictures.vectors, pictures.head),
        label_sets=sets,
    )
    assert judge_held_out(other, OPTIONS, other.keys, lambda *_: None).wrong


def test_without_two_pictures_of_a_label_there_are_no_heads():
    pictures = planted()
    bare = JudgedLabels(
        pictures.names,
        *(pictures.paths, pictures.sets, np.zeros(120, np.int32), pictures.keys, pictures.vectors, pictures.head),
        label_sets=np.zeros((1, 3), bool),
    )
    assert judge_held_out(bare, OPTIONS, bare.keys, lambda *_: None) is None
