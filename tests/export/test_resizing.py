from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import resized_by_predict

from retrain.data.picture_form import PictureForm
from retrain.export.resizing import resized
from retrain.options import FITS

NAMES = ("abs", "cumsum", "einsum", "expand_dims", "floor", "floor_divide", "max", "maximum")
OPS = SimpleNamespace(
    **{name: getattr(np, name) for name in (*NAMES, "ones_like", "sum", "transpose", "where")},
    cast=lambda values, dtype: np.asarray(values).astype(dtype),
)


def drawn(*size):
    return np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)


# wider and higher than wanted, and less so; each order of axes; sums that end in a half; a thousand levels in one
@pytest.mark.parametrize(
    "size", [(24, 32), (48, 64), (60, 90), (90, 60), (70, 30), (200, 16), (3, 500), (1, 1), (8, 1200)]
)
def test_every_level_is_that_of_predict(size):
    picture = drawn(*size)
    found = resized(picture[np.newaxis], PictureForm(24, 32), OPS)
    np.testing.assert_array_equal(found[0], resized_by_predict(picture, 24, 32))


@settings(deadline=None, max_examples=40)
@given(
    fit=st.sampled_from(FITS),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    wanted=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_every_level_is_that_of_predict_whatever_the_size(fit, size, wanted):
    picture = drawn(*size)
    found = resized(picture[np.newaxis], PictureForm(*wanted, fit), OPS)
    np.testing.assert_array_equal(found[0], resized_by_predict(picture, *wanted, fit))


def test_a_batch_gives_what_its_pictures_give():
    pictures = np.stack([drawn(50, 40), drawn(50, 40)[::-1], 255 - drawn(50, 40)])
    singly = [resized(picture[np.newaxis], PictureForm(16, 16), OPS) for picture in pictures]
    np.testing.assert_array_equal(resized(pictures, PictureForm(16, 16), OPS), np.concatenate(singly))
