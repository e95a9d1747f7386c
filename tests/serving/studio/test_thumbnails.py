import asyncio
import contextlib
import io
import os
import threading

import pytest
from PIL import Image
from support.serving import run
from support.studio import paint

from retrain.options import ImageOptions
from retrain.serving.problems import Problem
from retrain.serving.studio import thumbnails
from retrain.serving.studio.pictures import read_folder
from retrain.serving.studio.thumbnails import Thumbnails


@pytest.fixture
def pictures():
    root = paint("pictures", ("red",), 4)
    Image.new("RGB", (2000, 500)).save(root / "red" / "wide.png")
    (root / "red" / "zero.png").touch()
    os.mkfifo(root / "red" / "zpipe")
    return {picture.path.partition("/")[2]: picture for picture in read_folder(root).pictures}


@pytest.fixture
def small():
    with contextlib.closing(Thumbnails("pictures", ImageOptions())) as small:
        yield small


def size(data):
    return Image.open(io.BytesIO(data)).size


def test_pictures_keep_their_proportions(pictures, small):
    assert size(run(small.get(pictures["wide.png"], "thumbnail"))) == (224, 56)
    assert size(run(small.get(pictures["wide.png"], "preview"))) == (1024, 256)
    assert size(run(small.get(pictures["red0.png"], "thumbnail"))) == (12, 10)


@pytest.mark.parametrize(("name", "why"), [("zero.png", "the file is empty"), ("zpipe", "a named pipe, not a file")])
def test_what_is_no_picture_says_why(pictures, small, name, why):
    with pytest.raises(Problem, match=why) as caught:
        run(small.get(pictures[name], "thumbnail"))
    assert caught.value.status == 415


def test_the_bounds_of_the_decoder_hold():
    Image.new("RGB", (200, 200)).save(paint("pictures", ("red",)) / "red" / "large.png")
    large = next(one for one in read_folder("pictures").pictures if one.path == "red/large.png")
    with (
        contextlib.closing(Thumbnails("pictures", ImageOptions(max_pixels=10_000))) as small,
        pytest.raises(Problem, match="more than --max-pixels 10000"),
    ):
        run(small.get(large, "thumbnail"))


def test_they_are_made_once_while_there_is_room(pictures, small, monkeypatch):
    made = []
    make = small._files.thumbnail
    small._files.thumbnail = lambda path, side: made.append(path) or make(path, side)
    for _ in range(2):
        run(small.get(pictures["red0.png"], "thumbnail"))
    assert made == ["red/red0.png"]
    monkeypatch.setattr(thumbnails, "_MOST_KEPT", 10)
    run(small.get(pictures["red1.png"], "thumbnail"))
    run(small.get(pictures["red0.png"], "thumbnail"))
    assert made == ["red/red0.png", "red/red1.png", "red/red0.png"]


def test_too_many_at_once_are_turned_away(pictures, small, monkeypatch):
    monkeypatch.setattr(thumbnails, "_MOST_WAITING", 2)
    goes_on = threading.Event()
    small._made = lambda path, kind: goes_on.wait(30) and b"made"

    async def work():
        waiting = [asyncio.create_task(small.get(pictures[f"red{n}.png"], "thumbnail")) for n in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Problem, match="2 pictures are waiting already") as caught:
            await small.get(pictures["red2.png"], "thumbnail")
        goes_on.set()
        return caught.value.status, await asyncio.gather(*waiting)

    assert run(work()) == (503, [b"made", b"made"])
