import numpy as np

from retrain.evaluation.labelling_order import labelling_order


def test_pictures_between_two_classes_come_first():
    scores = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.5, 0.3, 0.2]])
    vectors = np.eye(3, dtype=np.float32)
    order = labelling_order(scores, vectors, np.zeros((0, 3), np.float32))
    assert order.numbers.tolist() == [1, 2, 0]
    np.testing.assert_allclose(order.margins, [0.8, 0.05, 0.2])


def test_near_copies_of_labelled_pictures_come_last():
    scores, vectors = np.full((2, 2), 0.5), np.array([[2, 0.01], [0, 1]], np.float32)
    order = labelling_order(scores, vectors, np.array([[1, 0]], np.float32))
    assert order.numbers.tolist() == [1, 0]
    np.testing.assert_allclose(order.likeness, [1, 0], atol=1e-4)
