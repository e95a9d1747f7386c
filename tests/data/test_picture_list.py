"""Pictures that are given one by one."""

import os
from pathlib import Path

import numpy as np
import pytest

from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.data.picture_list import list_pictures


def test_pixels_are_the_file_that_has_them():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    grey = rng.integers(0, 256, (5, 7)).astype(np.uint8)
    for pixels in (colours, grey, colours[::-1, ::2], np.asfortranarray(colours)):
        [sample] = list_pictures([pixels]).samples
        wanted = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
        assert np.array_equal(decode_image(sample.content(), PictureForm(*pixels.shape[:2])), wanted)


def test_paths_may_be_relative_and_of_any_bytes():
    folder = list_pictures(["a/b.jpg", Path("/x/y.png"), os.fsdecode(b"caf\xe9.png")])
    here = os.getcwd()
    places = [os.fspath(folder.root / sample.path) for sample in folder.samples]
    assert places == [f"{here}/a/b.jpg", "/x/y.png", f"{here}/caf\udce9.png"]
    assert [sample.content for sample in folder.samples] == [None] * 3


@pytest.mark.parametrize(
    ("picture", "error", "said"),
    [
        (None, TypeError, "picture 1 is of type NoneType: give a path"),
        (3, TypeError, "picture 1 is of type int"),
        (np.zeros((4, 4, 3)), TypeError, "picture 1 is an array of float64: give pixels as uint8, from 0 to 255"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"picture 1 is an array of shape \(4, 4, 4\): give \(height"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"shape \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), ValueError, r"shape \(4,\)"),
    ],
)
def test_anything_else_is_refused_with_its_place(picture, error, said):
    with pytest.raises(error, match=said):
        list_pictures(["a.jpg", picture])
