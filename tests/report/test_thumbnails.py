"""Thumbnails, and whether two files show the same picture."""

import io

import numpy as np
import pytest
from PIL import Image

from retrain.data.picture_form import PictureForm
from retrain.options import ImageOptions
from retrain.report.thumbnails import PictureFiles, correlation


def smooth(seed, size=(300, 200)):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def files(tmp_path):
    smooth(1).save(tmp_path / "wide.jpg", quality=90)
    smooth(1, (20, 30)).save(tmp_path / "small.png")
    smooth(2).save(tmp_path / "other.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return PictureFiles(tmp_path, ImageOptions())


def test_thumbnails_keep_proportions_and_are_never_larger_than_the_picture(files):
    wide, small, broken, gone = files.thumbnails(["wide.jpg", "small.png", "broken.jpg", "gone.jpg"])
    assert Image.open(io.BytesIO(wide)).size == (160, 107)
    assert Image.open(io.BytesIO(small)).size == (20, 30)
    assert broken is None
    assert gone is None


def test_when_time_is_up_no_more_are_made(files):
    assert files.thumbnails(["wide.jpg"] * 3, seconds=-1) == [None] * 3


def test_sizes_and_pixels(files):
    assert files.size("wide.jpg", 150) == (100, 150)
    assert files.size("broken.jpg", 150) is None
    assert files.pixels("small.png", PictureForm(5, 6)).shape == (5, 6, 3)
    assert files.pixels("gone.jpg", PictureForm(5, 6)) is None


def test_copies_that_were_saved_again_correlate_and_others_do_not(files, tmp_path):
    smooth(1).save(tmp_path / "again.jpg", quality=25)
    smooth(1).resize((100, 67), Image.Resampling.LANCZOS).save(tmp_path / "smaller.jpg")
    wide, again, smaller, other = files.grey(["wide.jpg", "again.jpg", "smaller.jpg", "other.jpg"])
    assert wide.shape == (32, 32)
    assert min(correlation(wide, again), correlation(wide, smaller)) > 0.99
    assert correlation(wide, other) < 0.9


def test_pictures_of_one_colour():
    one, other = np.full((32, 32), 9, np.float32), np.full((32, 32), 200, np.float32)
    assert correlation(one, one.copy()) == 1
    assert correlation(one, other) == 0
