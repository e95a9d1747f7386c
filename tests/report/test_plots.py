import io

import numpy as np
from PIL import Image

from retrain.report.plots import draw_curves
from retrain.training.learning_curve import CurvePoint


def pixels_of(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def curve(sets=("train", "validation", "test"), points=5):
    return [
        CurvePoint(step * 10, step / 2, dict.fromkeys(sets, (step / points, 1 / step))) for step in range(1, points + 1)
    ]


def colours_in(pixels):
    wanted = {"train": (0x4C, 0x72, 0xB0), "validation": (0xDD, 0x84, 0x52), "test": (0x55, 0xA8, 0x68)}
    return [name for name, colour in wanted.items() if (pixels == colour).all(-1).any()]


def test_curves_are_two_panels_of_three_curves():
    pixels = pixels_of(draw_curves(curve()))
    assert pixels.shape[1] > 2 * pixels.shape[0]
    half = pixels.shape[1] // 2
    for panel in (pixels[:, :half], pixels[:, half:]):
        assert colours_in(panel) == ["train", "validation", "test"]


def test_sets_without_pictures_have_no_curve():
    assert colours_in(pixels_of(draw_curves(curve(["train", "test"])))) == ["train", "test"]


def test_a_curve_of_one_point_can_be_drawn():
    assert colours_in(pixels_of(draw_curves(curve(points=1)))) == ["train", "validation", "test"]
    draw_curves([CurvePoint(0, 0.0, {"train": (1.0, 0.0)})])
