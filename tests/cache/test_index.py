import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrain.cache.index import RowIndex


class Part:
    """As much of a segment as an index looks at."""

    def __init__(self, numbers):
        self.keys = np.array([[number] * 32 for number in numbers], np.uint8).reshape(-1, 32)
        self.copies = np.zeros(len(numbers), np.uint32)
        self.crcs = np.zeros(len(numbers), np.uint32)


NUMBERS = st.lists(st.integers(0, 9), max_size=6)


@given(st.lists(NUMBERS, max_size=4), st.lists(NUMBERS, max_size=4), st.randoms(use_true_random=False))
def test_an_index_that_was_extended_is_that_of_all(before, after, chance):
    parts = [*map(Part, before)], [*map(Part, after)]
    count = sum(map(len, before + after))
    usable = np.array([chance.random() < 0.7 for _ in range(count)], bool)
    index = RowIndex(parts[0], usable[: sum(map(len, before))]).extended(parts[1], usable)
    whole = RowIndex(parts[0] + parts[1], usable)
    wanted = Part(range(10))
    assert index.look_up(wanted.keys, wanted.copies).tolist() == whole.look_up(wanted.keys, wanted.copies).tolist()
