"""The pictures of the page: each once, with what belongs to it."""

import numpy as np
import pytest
from support.judged import make_judged
from support.pictures import draw_picture

from retrain.data.picture_form import PictureForm
from retrain.options import ImageOptions
from retrain.report import shelf as module
from retrain.report.heat_maps import HeatMaps
from retrain.report.shelf import Shelf
from retrain.report.thumbnails import PictureFiles


class Activations:
    is_mean = True

    def of(self, pixels):
        return np.repeat(pixels.mean(axis=3, keepdims=True), 16, axis=3).astype(np.float32)


@pytest.fixture
def pictures():
    return make_judged((4, 4, 4), "train train validation test")


@pytest.fixture
def files(pictures, tmp_path):
    for number, path in enumerate(pictures.paths):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        draw_picture(number, 0).save(tmp_path / path)
    return PictureFiles(tmp_path, ImageOptions())


def test_a_picture_is_there_once(pictures, files):
    shelf = Shelf(pictures)
    assert shelf.show([3, 7]) == (0, 1)
    assert shelf.show([7, 5, 3]) == (1, 2, 0)
    shown = shelf.finish(files, 10)
    assert [picture.path for picture in shown] == [pictures.paths[n] for n in (3, 7, 5)]
    assert shown[0].set == "test"
    assert shown[0].label == "class0"
    assert [score.label for score in shown[0].scores] == [pictures.names[n] for n in pictures.given[3]]
    assert all(picture.thumbnail for picture in shown)


def test_the_nearest_training_pictures_come_with_it(pictures, files):
    shelf = Shelf(pictures)
    shelf.show([3])
    shelf.add_neighbours([3, 11])  # 11 is not shown
    first, *rest = shelf.finish(files, 10)
    assert [shown.path for shown in rest] == [
        ([first, *rest][neighbour.picture]).path for neighbour in first.neighbours
    ]
    assert {shown.set for shown in rest} == {"train"}
    cosines = [neighbour.cosine for neighbour in first.neighbours]
    assert cosines == sorted(cosines, reverse=True)
    assert len(cosines) == 3


def test_heat_maps_of_what_can_be_read(pictures, files, tmp_path):
    (tmp_path / pictures.paths[7]).write_bytes(b"gone")
    shelf = Shelf(pictures)
    shelf.show([3, 7])
    shelf.add_heat_maps([3, 7, 3], HeatMaps(Activations(), pictures.head, PictureForm(4, 4)), files)
    there, broken = shelf.finish(files, 10)
    assert there.heat_map.startswith(b"\x89PNG")
    assert there.heat_label == pictures.names[pictures.given[3, 0]]
    assert (broken.heat_map, broken.thumbnail) == (None, None)


def test_a_page_holds_so_many(pictures, files, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PICTURES", 2)
    shelf = Shelf(pictures)
    assert shelf.show([1, 2, 3]) == (0, 1)
    assert shelf.show([3, 2]) == (1,)
    assert [picture.thumbnail is not None for picture in shelf.finish(files, 1)] == [True, False]


def test_thumbnails_end_where_they_would_take_too_much(pictures, files, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 1)
    shelf = Shelf(pictures)
    shelf.show([1, 2])
    assert [picture.thumbnail for picture in shelf.finish(files, 9)] == [None, None]
