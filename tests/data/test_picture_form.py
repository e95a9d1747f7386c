"""How pictures of other proportions are fitted into a network's: the rule, and the pixels that come of it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.pictures import STORED_AS, encoded

from retrain.data.decoding import decode_image
from retrain.data.picture_form import BACKGROUND, Margins, PictureForm, unusual
from retrain.options import FITS

ORIENTATION = 0x0112
SIDES = st.integers(1, 400)


@pytest.mark.parametrize(
    ("form", "size", "cut", "border"),
    [
        (PictureForm(10, 10, "crop"), (20, 45), Margins(0, 12), Margins(0, 0)),  # 25 columns too many: 21 stay
        (PictureForm(10, 10, "crop"), (45, 20), Margins(12, 0), Margins(0, 0)),
        (PictureForm(10, 20, "crop"), (30, 30), Margins(7, 0), Margins(0, 0)),
        (PictureForm(10, 10, "pad"), (20, 45), Margins(0, 0), Margins(2, 0)),  # 4.4 rows of 10 are needed: 6 stay
        (PictureForm(10, 10, "pad"), (45, 20), Margins(0, 0), Margins(0, 2)),
        (PictureForm(10, 20, "pad"), (30, 30), Margins(0, 0), Margins(0, 5)),
        (PictureForm(10, 10), (20, 45), Margins(0, 0), Margins(0, 0)),
    ],
)
def test_the_rule_in_whole_numbers(form, size, cut, border):
    assert (form.cut(*size), form.border(*size)) == (cut, border)


@given(st.sampled_from(FITS), SIDES, SIDES, SIDES, SIDES)
def test_something_stays_and_proportions_are_kept(fit, height, width, rows, columns):
    form = PictureForm(rows, columns, fit)
    cut, border = form.cut(height, width), form.border(height, width)
    part = height - 2 * cut.rows, width - 2 * cut.columns
    inside = rows - 2 * border.rows, columns - 2 * border.columns
    assert min(*part, *inside) >= 1
    if fit == "crop":  # less than two pixels more than proportions ask for, on one axis
        assert part[0] == height or part[1] == width
        assert -2 < part[0] - part[1] * rows / columns < 2 or -2 < part[1] - part[0] * columns / rows < 2
    if fit == "pad":
        assert inside[0] == rows or inside[1] == columns
        assert -2 < inside[0] - inside[1] * height / width < 2 or -2 < inside[1] - inside[0] * width / height < 2


@given(st.sampled_from(FITS), SIDES, SIDES, SIDES, SIDES)
def test_turning_a_picture_turns_its_margins(fit, height, width, rows, columns):
    form = PictureForm(rows, columns, fit)
    for margins, turned in ((form.cut, form.turned.cut), (form.border, form.turned.border)):
        upright, on_its_side = margins(height, width), turned(width, height)
        assert (upright.rows, upright.columns) == (on_its_side.columns, on_its_side.rows)


def test_only_what_is_not_the_default_is_told():
    assert unusual(PictureForm(3, 4)) == {}
    assert unusual(PictureForm(3, 4, "pad")) == {"fit": "pad"}
    assert unusual(PictureForm(3, 4, depth="full")) == {"depth": "full"}


def striped(height, width):
    """Each pixel has a value of its own."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 3, columns * 3, (rows + columns) % 256], 2).astype(np.uint8)


def test_crop_shows_the_middle_and_nothing_beyond_plays_into_it():
    pixels = striped(20, 50)
    pixels[:, :15] = pixels[:, 35:] = 255
    found = decode_image(encoded(pixels, "PNG"), PictureForm(20, 20, "crop"))
    assert np.array_equal(found, pixels[:, 15:35])
    halved = decode_image(encoded(pixels, "PNG"), PictureForm(10, 10, "crop"))
    assert np.array_equal(halved, decode_image(encoded(pixels[:, 15:35], "PNG"), PictureForm(10, 10)))


def test_pad_shows_all_of_it_on_grey():
    pixels = striped(20, 50)
    found = decode_image(encoded(pixels, "PNG"), PictureForm(50, 50, "pad"))
    assert np.array_equal(found[15:35], pixels)
    assert (found[:15] == BACKGROUND).all()
    assert (found[35:] == BACKGROUND).all()


def test_transparent_parts_are_white_and_the_background_is_not():
    image = Image.fromarray(np.zeros((10, 30, 4), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    found = decode_image(buffer.getvalue(), PictureForm(30, 30, "pad"))
    assert (found[10:20] == 255).all()
    assert (found[:10] == BACKGROUND).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_that_is_stored_on_its_side_gives_the_same(orientation, fit):
    form, upright = PictureForm(12, 16, fit), Image.fromarray(striped(31, 58))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    upright.transpose(STORED_AS[orientation]).save(buffer, "PNG", exif=exif)
    expected = decode_image(encoded(np.asarray(upright), "PNG"), form).astype(int)
    assert np.abs(decode_image(buffer.getvalue(), form) - expected).max() <= 1  # the order of axes decides on a level


def test_a_large_jpeg_is_scaled_as_it_is_read():
    pixels = np.asarray(Image.fromarray(striped(60, 80)).resize((1600, 1200), Image.Resampling.BICUBIC))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    for fit in FITS:
        form = PictureForm(32, 32, fit)
        whole = decode_image(encoded(pixels, "PNG"), form).astype(int)
        assert np.abs(decode_image(buffer.getvalue(), form) - whole).mean() < 2
