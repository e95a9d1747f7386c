"""The studio on a real folder, editor and model, of a tiny network."""

import contextlib
import os
import threading
from pathlib import Path

import pytest
from support.pictures import draw_picture
from support.serving import wait_until

from retrain.data import FolderEdits
from retrain.errors import ImageFolderError, OutputError
from retrain.options import BackboneOptions, RunOptions, StudioOptions, TrainingOptions, WatchOptions
from retrain.pipeline.studio import open_studio


@pytest.fixture
def options(tiny_backbone):
    return RunOptions(backbone=BackboneOptions(backbone=str(tiny_backbone)), training=TrainingOptions(steps=50))


@contextlib.contextmanager
def running(root, options, **studio):
    with open_studio(root, StudioOptions(port=0, **studio), options, WatchOptions(poll=0.05)) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server.workbench
        finally:
            server.stop()
            thread.join(60)


def test_the_model_follows_edits_and_changes_from_outside(make_folder, options):
    root = make_folder({"cat": 12, "dog": 12})
    with running(root, options) as bench:
        wait_until(lambda: bench.figures and bench.figures.content["looked"])
        assert bench.figures.content["headline"]["pictures"] == 24
        bench.edit(lambda editor: editor.move(["cat/cat_000.png"], "dog"))
        wait_until(
            lambda: (
                [one["train"] + one["validation"] + one["test"] for one in bench.figures.content["classes"]] == [11, 13]
            )
        )
        draw_picture(99, 1).save(root / "dog" / "outside.png")
        wait_until(lambda: "dog/outside.png" in bench.table.numbers())
        wait_until(lambda: bench.figures.content["headline"]["pictures"] == 25 and bench.figures.content["looked"])
        assert bench.classify((root / "cat" / "cat_001.png").read_bytes()).label in ("cat", "dog")
        bench.save("model")
        assert Path("model/run.json").exists()
        os.symlink(root, "link")
        for place in (root, root / "model", root / "cat" / "model", "link/model"):
            with pytest.raises(OutputError, match="each folder there is a class"):
                bench.save(place)  # it would be a class of the next model
        assert sorted(path.name for path in root.glob("[!.]*")) == ["cat", "dog"]
    FolderEdits(root).close()  # nobody else edits it any more


def test_unlabelled_pictures_come_in_the_order_in_which_they_help(make_folder, options):
    root = make_folder({"cat": 12, "dog": 12})
    new = make_folder({"some": 6}, name="new")
    with running(root, options, unlabelled=str(new)) as bench:
        wait_until(lambda: bench.figures and bench.figures.content["unlabelled"])
        first = bench.table.get(bench.figures.content["unlabelled"][0][0])
        assert first.path.startswith("../new/some/some_")
        assert first.class_name is None
        bench.edit(lambda editor: editor.move([first.path], "cat"))
        wait_until(lambda: len(bench.figures.content["unlabelled"]) == 5)
        assert len([*(root / "cat").iterdir()]) == 13


def test_read_only_opens_no_editor(make_folder, options):
    root = make_folder({"cat": 12, "dog": 12})
    before = sorted(root.iterdir())
    with running(root, options, read_only=True) as bench:
        assert bench.is_read_only
        wait_until(lambda: bench.figures)
    assert sorted(root.iterdir()) == before


def test_one_folder_has_one_editor(make_folder, options):
    root = make_folder({"cat": 12, "dog": 12})
    with contextlib.closing(FolderEdits(root)):
        with pytest.raises(ImageFolderError, match="edit"), open_studio(root, StudioOptions(port=0), options):
            pass
        with open_studio(root, StudioOptions(port=0, read_only=True), options) as server:
            assert server.workbench.is_read_only


def test_a_file_is_no_folder(options):
    Path("labels.csv").touch()
    with pytest.raises(ImageFolderError, match=r"labels\.csv is a file"), open_studio("labels.csv", options=options):
        pass
