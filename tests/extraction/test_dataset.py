"""What is said of pictures that can't be read, or show nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.hearing import warnings_to

import retrain
from retrain.data.inspection import inspect_folder
from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.errors import ImageFolderError
from retrain.extraction.dataset import flat_warnings
from retrain.extraction.pass_one import Extraction
from retrain.options import BackboneOptions, RunOptions
from retrain.pipeline.crossval import cross_validate

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


def fill(contents):
    for number, content in enumerate(contents):
        folder = Path("pictures", f"class_{number % 3}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(content)


@pytest.mark.parametrize("command", [retrain.train, cross_validate])
@pytest.mark.parametrize(
    ("contents", "reasons"),
    [
        ([POINTER] * 36, r"skipped 36 of 36 files \(Git LFS pointer: run git lfs pull\)"),
        ([POINTER] * 35 + [b"<html>404</html>"], "35 x Git LFS pointer: run git lfs pull.* 1 x HTML page"),
    ],
)
def test_a_folder_without_a_picture_says_what_it_has(tiny_backbone, command, contents, reasons):
    fill(contents)
    options = RunOptions(backbone=BackboneOptions(backbone=str(tiny_backbone)))
    with pytest.raises(ImageFolderError, match=reasons):
        command("pictures", options=options)


def told(flat, unreadable=()):
    """Warnings of six pictures of two classes."""
    samples = tuple(Sample(f"{name}/{n}.png", label, name) for label, name in enumerate("ab") for n in range(3))
    readable = np.array([number not in unreadable for number in range(6)])
    extraction = Extraction(np.zeros((6, 32), np.uint8), readable, {}, 6, 1.0, one_colour=tuple(flat))
    return list(flat_warnings(LabelledPictures(Path("pictures"), ("a", "b"), samples), extraction))


def test_pictures_and_classes_of_one_colour_are_told():
    assert told([]) == []
    assert told([4]) == [
        "1 picture shows one flat colour, such as b/1.png: retrain inspect lists such pictures; remove those that "
        "show nothing"
    ]
    assert told([0, 4])[0].startswith("2 pictures show one flat colour, such as a/0.png")
    [whole] = told([0, 2], unreadable=[1])
    assert whole.startswith("every picture of class a shows one flat colour, so there is nothing to learn")
    assert len(told([0, 1, 2, 4])) == 2


def test_inspection_tells_them_too(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    Image.new("RGB", (20, 20), "teal").save(root / "dog" / "flat.png")
    (root / "grey").mkdir()
    Image.new("L", (20, 20), 7).save(root / "grey" / "flat.png")
    dot = Image.new("RGB", (300, 300), "white")
    dot.putpixel((150, 150), (0, 0, 0))
    dot.save(root / "cat" / "dot.png")
    found = inspect_folder(root)
    assert found.one_colour == ("dog/flat.png", "grey/flat.png")
    assert found.one_colour_classes == ("grey",)


def test_training_warns_of_them(make_folder, tiny_backbone):
    root = make_folder({"cat": 25, "dog": 25})
    Image.new("RGB", (20, 20), "teal").save(root / "dog" / "flat.png")
    warnings = []
    options = RunOptions(backbone=BackboneOptions(backbone=str(tiny_backbone)))
    cross_validate(root, options=options, emit=warnings_to(warnings.append))
    assert [text for text in warnings if "1 picture shows one flat colour" in text]
