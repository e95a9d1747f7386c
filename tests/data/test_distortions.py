"""Distorted copies: what is drawn, and what comes of it."""

import dataclasses
import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import draw_picture

from retrain.data.decoding import decode_image
from retrain.data.distortions import Distorter, Distortion, distort, draw_distortion, largest_enlargement
from retrain.data.picture_form import PictureForm
from retrain.errors import UnreadableImageError
from retrain.options import AugmentationOptions

ALL = AugmentationOptions(
    augment=3, flip=True, rotate=15, shift=10, zoom=20, crop=10, stretch=20, brightness=30, contrast=20
)


def as_file(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def key_of(number):
    return hashlib.sha256(str(number).encode()).digest()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def copies(data, options, numbers=(1, 2, 3), size=(16, 24)):
    return Distorter(options, PictureForm(*size)).copies(data, hashlib.sha256(data).digest(), numbers)


def test_what_a_copy_draws_is_fixed_for_ever():
    """Golden values: other ones would be other copies under the same fingerprint."""
    drawn = draw_distortion(bytes(range(32)), 7, dataclasses.replace(ALL, augment_seed=5))
    got = [drawn.is_mirrored, drawn.degrees, *drawn.shift, *drawn.enlargement, *drawn.place]
    assert got == pytest.approx(GOLDEN[:8], rel=1e-12)
    assert (drawn.brightness, drawn.contrast) == pytest.approx(GOLDEN[8:], rel=1e-12)


GOLDEN = (
    False,
    7.0884653508952935,
    0.010013659844898305,
    -0.047652530871600624,
    1.2672409856344005,
    1.2974091111221984,
    0.4689009495618245,
    0.08035817270380452,
    1.0235762352250692,
    1.1761798461645476,
)


def test_copies_keys_and_seeds_draw_apart():
    draws = {
        draw_distortion(key_of(n), copy, dataclasses.replace(ALL, augment_seed=seed)).degrees
        for n in range(5)
        for copy in range(1, 6)
        for seed in range(3)
    }
    assert len(draws) == 75


def test_an_option_changes_nothing_that_another_one_draws():
    alone = draw_distortion(key_of(1), 1, AugmentationOptions(augment=1, rotate=15))
    together = draw_distortion(key_of(1), 1, ALL)
    assert alone.degrees == together.degrees
    assert alone.shift == (0, 0)
    assert alone.enlargement == (1, 1)
    assert alone.brightness == alone.contrast == 1
    assert not alone.is_mirrored


def test_without_distortion_a_copy_is_the_picture():
    data = as_file(draw_picture(1, 0, 50))
    [copy] = copies(data, AugmentationOptions(), [1])
    assert np.array_equal(copy, decode_image(data, PictureForm(16, 24)))


def test_a_copy_hangs_on_nothing_but_itself():
    data = as_file(draw_picture(1, 0, 50))
    first = copies(data, ALL, [1, 2, 3])
    assert first.shape == (3, 16, 24, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(copies(data, dataclasses.replace(ALL, augment=99), [3, 1]), first[[2, 0]])


def test_flip_mirrors_the_copies_that_draw_it_and_leaves_the_others():
    data = as_file(draw_picture(1, 0, 50))
    options = AugmentationOptions(augment=8, flip=True)
    plain = decode_image(data, PictureForm(16, 24))
    made = copies(data, options, range(1, 9))
    mirrored = [draw_distortion(hashlib.sha256(data).digest(), n, options).is_mirrored for n in range(1, 9)]
    assert set(mirrored) == {True, False}
    for copy, is_mirrored in zip(made, mirrored, strict=True):
        assert np.array_equal(copy, plain[:, ::-1] if is_mirrored else plain)


def test_brightness_is_a_factor():
    pixels = noise(8, 8) // 2
    got = distort(Image.fromarray(pixels), Distortion(brightness=1.5), (8, 8))
    assert np.abs(got - pixels * 1.5).max() <= 1
    assert not distort(Image.fromarray(pixels), Distortion(brightness=0), (8, 8)).any()


def test_contrast_is_a_factor_around_the_mean_of_grey():
    pixels = np.repeat(np.arange(64, 192, 2, np.uint8).reshape(8, 8, 1), 3, axis=2)
    got = distort(Image.fromarray(pixels), Distortion(contrast=0.5), (8, 8))
    assert np.abs(got - (pixels.mean() + (pixels - pixels.mean()) / 2)).max() <= 1.5


@pytest.mark.parametrize(("place", "start"), [((0, 0), (0, 0)), ((0.999, 0.999), (4, 8)), ((0.5, 0.3), (2, 2))])
def test_the_window_lies_where_it_was_drawn(place, start):
    pixels = noise(24, 20)  # the enlarged picture
    drawn = Distortion(enlargement=(20 / 16, 24 / 16), place=place)
    got = distort(Image.fromarray(pixels), drawn, (16, 16))
    x, y = start
    assert np.array_equal(got, pixels[y : y + 16, x : x + 16])


def test_a_part_of_a_scaled_picture_is_the_same_as_of_the_whole():
    canvas = Image.fromarray(noise(300, 300))
    whole = np.asarray(canvas.resize((250, 220), Image.Resampling.BILINEAR)).astype(int)
    got = distort(canvas, Distortion(enlargement=(2.5, 2.2), place=(0.4, 0.7)), (100, 100))
    x, y = int(0.4 * 151), int(0.7 * 121)
    assert np.abs(got - whole[y : y + 100, x : x + 100]).max() <= 1


def test_a_shift_moves_the_picture_and_reflects_what_is_missing():
    pixels = noise(10, 10)
    right = distort(Image.fromarray(pixels), Distortion(shift=(0.3, 0)), (10, 10))
    assert np.array_equal(right[:, 3:], pixels[:, :7])
    assert np.array_equal(right[:, :3], pixels[:, 2::-1])
    up = distort(Image.fromarray(pixels), Distortion(shift=(0, -1)), (10, 10))
    assert np.array_equal(up, pixels[::-1])


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_quarter_turns_move_every_pixel_to_its_place(degrees, turns):
    pixels = noise(15, 15)
    got = distort(Image.fromarray(pixels), Distortion(degrees=degrees), (15, 15))
    assert np.abs(got.astype(int) - np.rot90(pixels, turns)).max() <= 1


def test_rotation_turns_around_the_centre_and_leaves_no_black_corner():
    canvas = Image.new("RGB", (40, 40), (200, 100, 50))
    canvas.paste((0, 0, 255), (18, 18, 22, 22))
    got = distort(canvas, Distortion(degrees=33), (40, 40)).astype(int)
    assert np.abs(got[19:21, 19:21] - (0, 0, 255)).max() <= 1
    got[14:26, 14:26] = (200, 100, 50)
    assert np.abs(got - (200, 100, 50)).max() <= 1


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.floats(-180, 180),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    st.tuples(st.floats(1, 6), st.floats(1, 6)),
    st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_whatever_is_drawn_the_copy_shows_the_picture_alone(size, degrees, shift, enlargement, place):
    canvas = Image.new("RGB", (30, 20), (90, 160, 230))
    got = distort(canvas, Distortion(False, degrees, shift, enlargement, place), size)
    assert got.shape == (*size, 3)
    assert np.abs(got.astype(int) - (90, 160, 230)).max() <= 1


@settings(deadline=None, max_examples=100)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 1000), st.integers(0, 2**31 - 1))
def test_what_is_drawn_stays_within_the_options(key, copy, seed):
    options = dataclasses.replace(ALL, augment_seed=seed)
    drawn = draw_distortion(key, copy, options)
    assert abs(drawn.degrees) <= 15
    assert max(map(abs, drawn.shift)) <= 0.1
    assert min(drawn.enlargement) >= 1.1 - 1e-9
    assert max(drawn.enlargement) <= 1.1 * 1.2 * 1.2 + 1e-9
    assert 0.7 <= drawn.brightness <= 1.3
    assert 0.8 <= drawn.contrast <= 1.2
    assert all(0 <= value < 1 for value in drawn.place)


def test_stretch_enlarges_one_side_only():
    options = AugmentationOptions(augment=1, stretch=50)
    drawn = [draw_distortion(key_of(n), 1, options).enlargement for n in range(200)]
    assert all(min(pair) == 1 for pair in drawn)
    assert max(x for x, _ in drawn) > 1.45
    assert max(y for _, y in drawn) > 1.45


def test_draws_are_uniform():
    """Chi-square over ten equal parts, 9 degrees of freedom: 27.9 is exceeded once in a thousand."""
    options = AugmentationOptions(augment=1, rotate=1, shift=100, zoom=100, brightness=100, contrast=100)
    drawn = [draw_distortion(key_of(n), 1, options) for n in range(2000)]
    values = {
        "degrees": [(d.degrees + 1) / 2 for d in drawn],
        "x": [(d.shift[0] + 1) / 2 for d in drawn],
        "y": [(d.shift[1] + 1) / 2 for d in drawn],
        "zoom": [d.enlargement[0] - 1 for d in drawn],
        "place": [d.place[0] for d in drawn],
        "brightness": [d.brightness / 2 for d in drawn],
        "contrast": [d.contrast / 2 for d in drawn],
    }
    for name, numbers in values.items():
        counts = np.histogram(numbers, 10, (0, 1))[0]
        assert counts.sum() == 2000, name
        assert ((counts - 200) ** 2 / 200).sum() < 27.9, name
    flipped = sum(draw_distortion(key_of(n), 1, ALL).is_mirrored for n in range(2000))
    assert 900 < flipped < 1100


def test_pictures_are_decoded_as_large_as_the_options_may_ask_for_up_to_a_limit():
    assert largest_enlargement(AugmentationOptions(augment=1, flip=True)) == 1
    assert largest_enlargement(ALL) == pytest.approx(1.1 * 1.2 * 1.2)
    far = AugmentationOptions(augment=1, crop=300, zoom=300, stretch=300)
    assert largest_enlargement(far) == 4
    data = as_file(draw_picture(1, 0, 50))
    assert copies(data, far).shape == (3, 16, 24, 3)


def test_what_is_no_picture_is_an_error():
    with pytest.raises(UnreadableImageError, match="not a picture"):
        copies(b"hello", ALL)
