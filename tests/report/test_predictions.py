import io

import numpy as np
import pytest
from PIL import Image
from support.pictures import draw_picture

from retrain.evaluation.metrics import PictureResult
from retrain.report.predictions import choose_pictures, draw_predictions


def results(wrong, right, labels=("cat", "dog")):
    """Pictures 0.png, 1.png ... with falling scores, wrong ones first."""
    return [
        PictureResult(f"{number}.png", "test", labels[0], labels[number < wrong], 1 - number / 100, f"key{number}")
        for number in range(wrong + right)
    ]


def pixels_of(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [(0, 40, (0, 24)), (5, 40, (5, 19)), (40, 40, (12, 12)), (40, 3, (21, 3)), (40, 0, (24, 0)), (2, 3, (2, 3))],
)
def test_wrong_pictures_come_first_but_are_not_all(wrong, right, expected):
    shown = choose_pictures(results(wrong, right))
    is_wrong = [picture.predicted != picture.label for picture in shown]
    assert (sum(is_wrong), len(is_wrong) - sum(is_wrong)) == expected
    assert is_wrong == sorted(is_wrong, reverse=True)
    if wrong and is_wrong[0]:
        assert shown[0].path == "0.png"  # the surest mistake
    if right:
        assert {shown[sum(is_wrong)].path, shown[-1].path} == {f"{wrong}.png", f"{wrong + right - 1}.png"}


def test_of_copies_one_is_shown():
    pictures = results(0, 5)
    copies = [PictureResult(f"copy{p.path}", p.set, p.label, p.predicted, p.score, p.key) for p in pictures]
    assert len(choose_pictures([*pictures, *copies])) == 5


def test_the_sheet_frames_wrong_pictures_in_red(tmp_path):
    for number in range(9):
        draw_picture(number, 0, 64).resize((96, 40)).save(tmp_path / f"{number}.png")
    pixels = pixels_of(draw_predictions(results(2, 7), tmp_path, title="2 of 9"))
    red = (pixels == (0xC1, 0x27, 0x2D)).all(-1)
    green = (pixels == (0x2B, 0x7A, 0x3D)).all(-1)
    # two of six tiles in the first of two rows
    columns = np.flatnonzero(red.any(0))
    assert columns.max() < pixels.shape[1] / 3
    assert np.flatnonzero(red.any(1)).max() < 0.55 * pixels.shape[0]  # the title is above
    assert np.flatnonzero(green.any(1)).max() > 0.55 * pixels.shape[0]


def test_pictures_that_cannot_be_read_any_more_are_left_out(tmp_path):
    for number in range(3):
        draw_picture(number, 0).save(tmp_path / f"{number}.png")
    whole = pixels_of(draw_predictions(results(0, 3), tmp_path))
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"no picture")
    one = pixels_of(draw_predictions(results(0, 3), tmp_path))
    assert whole.shape == one.shape
    assert (whole != 255).any(-1).sum() > 2 * (one != 255).any(-1).sum()
    (tmp_path / "2.png").unlink()
    assert draw_predictions(results(0, 3), tmp_path) is None
    assert draw_predictions([], tmp_path) is None


def test_labels_of_any_kind_can_be_drawn(tmp_path):
    draw_picture(0, 0).save(tmp_path / "0.png")
    for labels in (("花", "Käfer"), ("$x^{2", "a_b$"), ("x" * 300, "\x07"), ("tab\there", "\\frac")):
        assert draw_predictions(results(1, 0, labels), tmp_path)
