"""Which pictures networks are tried and quantised on."""

from pathlib import Path

import numpy as np

from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.data.image_folder import read_image_folder
from retrain.data.picture_form import PictureForm
from retrain.data.picture_list import list_pictures
from retrain.events import ignore


def test_pictures_in_memory_are_chosen_as_their_files_are(make_folder):
    root = make_folder({"cat": 5, "dog": 5})
    (root / "cat" / "none.png").write_bytes(b"no picture")
    files = RepresentativePictures(read_image_folder(root), "cache")
    content = [path.read_bytes() for path in sorted(root.rglob("*.png"))]
    memory = RepresentativePictures(list_pictures([*content, Path("missing.png")]), "cache")
    for one, other in (
        (files.first(PictureForm(8, 6), 4), memory.first(PictureForm(8, 6), 4)),
        (files.at_random(PictureForm(8, 6), 4, ignore), memory.at_random(PictureForm(8, 6), 4, ignore)),
    ):
        assert one.shape == (4, 8, 6, 3)
        assert np.array_equal(one, other)
