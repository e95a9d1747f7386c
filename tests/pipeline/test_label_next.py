"""`retrain label-next`: which unlabelled pictures to label, and why."""

import json
import os

import numpy as np
import pytest
from support.command import one_line_error, retrain
from support.pictures import draw_picture

import retrain as package
from retrain.evaluation import LabellingOrder
from retrain.pipeline.label_next import Reasons


@pytest.fixture
def surroundings(make_folder, tiny_backbone, tmp_path):
    """Labelled pictures of two kinds, unlabelled ones of three; the arguments of the command."""
    make_folder({"cat": 5, "dog": 1}, "labelled")
    pool = tmp_path / "pool"
    pool.mkdir()
    for label, count in enumerate([4, 10, 20]):
        for number in range(100, 100 + count):
            draw_picture(number, label).save(pool / f"kind{label}_{number}.png")
    (pool / "again.png").write_bytes((tmp_path / "labelled/cat/cat_000.png").read_bytes())
    (pool / "twice.png").write_bytes((pool / "kind2_100.png").read_bytes())
    return ["label-next", "labelled", "--unlabelled", "pool", "--backbone", tiny_backbone]


def test_pictures_come_with_reasons(surroundings, tmp_path):
    (tmp_path / "pool" / "notes.txt").write_text("no picture")
    done = retrain(*surroundings, "--count", 40, check=0)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    names = [os.path.relpath(path, "pool") for path, _ in rows]
    own = {*os.listdir("pool")} - {"notes.txt", "twice.png"}  # each content once: the first by name
    assert sorted(names) == sorted(own)
    assert names[-1] == "again.png"
    assert rows[-1][1] == "looks like a labelled picture (cosine 1.00)"
    assert names[0].startswith("kind2")  # most pictures are of the kind without a label
    assert rows[0][1].startswith("unlike what is labelled (cosine 0.")
    assert "left out 1 of 37 files that can't be read as pictures: notes.txt (text, not a picture)" in done.stderr
    assert "35 pictures of 35 to label next; 6 labelled pictures of 2 classes so far" in done.stderr


def test_the_document_has_what_the_reasons_are_made_of(surroundings):
    found = json.loads(retrain(*surroundings, "--count", 35, "--json", "--quiet", check=0).stdout)
    assert (found["labels"], found["labelled"], found["unlabelled"]) == (["cat", "dog"], 6, 35)
    assert found["skipped_files"] == {}
    assert len(found["pictures"]) == 35
    for picture in found["pictures"][:-1]:
        scores = [*picture["scores"].values()]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)
        assert 0 < picture["likeness"] < 1
    assert found["pictures"][-1]["likeness"] == pytest.approx(1)
    assert found["pictures"][-1]["stands_for"] == 0


def test_the_reason_is_what_stands_out_more():
    scores = np.array([[0.5, 0.4, 0.1], [0.9, 0.1, 0.0], [0.8, 0.15, 0.05], [0.95, 0.05, 0.0], [1.0, 0.0, 0.0]])
    order = LabellingOrder(
        numbers=np.arange(5),
        margins=scores[:, 0] - scores[:, 1],
        likeness=np.array([0.7, 0.5, 0.8, 0.9, 0.99], np.float32),
        stands_for=np.array([3, 1, 0, 0, 0]),
        is_copy=np.array([False] * 4 + [True]),
    )
    reasons = Reasons(("a", "b", "c"), scores, order)
    assert [reasons.of(number, "path").reason for number in range(5)] == [
        "between a (0.50) and b (0.40), stands for 3 pictures",
        "unlike what is labelled (cosine 0.50), stands for 1 picture",
        "probably a (0.80)",
        "probably a (0.95)",
        "looks like a labelled picture (cosine 0.99)",
    ]


def test_paths_for_other_programs(surroundings, tmp_path):
    os.rename(tmp_path / "pool", os.fsencode(tmp_path / "pool") + b"\xe9\n")
    surroundings[3] = os.fsdecode(b"pool\xe9\n")
    done = retrain(*surroundings, "--count", 3, "--json", check=0)
    paths = [picture["path"] for picture in json.loads(done.stdout)["pictures"]]
    assert all(path.startswith("pool\\xe9\n/kind") for path in paths)
    options = package.RunOptions(backbone=package.BackboneOptions(backbone=str(surroundings[-1])))
    found = package.label_next("labelled", surroundings[3], package.LabellingOptions(count=3), options)
    assert all(os.path.exists(picture.path) for picture in found.pictures)
    shown = retrain(*surroundings, "--count", 3, check=0).stdout
    assert len(shown.splitlines()) == 3


def test_paths_end_with_a_zero_byte(surroundings):
    done = retrain(*surroundings, "--count", 3, "--print0", "--quiet", check=0)
    *paths, rest = done.stdout.split("\0")
    assert (len(paths), rest) == (3, "")
    assert all(map(os.path.exists, paths))
    one_line_error(retrain(*surroundings, "--print0", "--json", check=2), "--json and --print0 are two forms")


def test_with_nothing_labelled_typical_pictures_come_first(surroundings):
    del surroundings[1]
    done = retrain(*surroundings, "--count", 3, check=0)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {path.split("_")[0] for path, _ in rows} == {"pool/kind0", "pool/kind1", "pool/kind2"}
    counts = [int(reason.split()[2]) for _, reason in rows]
    assert sum(counts) == 35
    assert "3 pictures of 35 to label next; nothing is labelled so far" in done.stderr


def test_one_class_is_enough(surroundings, make_folder):
    make_folder({"cat": 2}, "single")
    surroundings[1] = "single"
    found = json.loads(retrain(*surroundings, "--count", 2, "--json", check=0).stdout)
    assert [picture["scores"] for picture in found["pictures"]] == [{"cat": 1.0}] * 2
    assert all(picture["reason"].startswith("unlike what is labelled") for picture in found["pictures"])


def test_labels_come_from_the_file_and_classes_without_pictures_do_not_count(surroundings, tmp_path):
    (tmp_path / "names.txt").write_text("cat\tKatze\n")
    (tmp_path / "labelled/owl").mkdir()
    (tmp_path / "labelled/owl/owl.png").write_text("no picture")
    found = json.loads(retrain(*surroundings, "--labels-file", "names.txt", "--json", check=0).stdout)
    assert found["labels"] == ["Katze", "dog"]
    assert len(found["pictures"]) == 20


def test_nothing_that_can_be_read(surroundings, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.png").write_text("no picture")
    surroundings[3] = "other"
    one_line_error(retrain(*surroundings, check=1), "not one readable picture in other: a.png (text, not a picture)")


def test_what_was_extracted_is_not_extracted_again(surroundings, tiny_backbone):
    retrain(*surroundings, check=0)
    options = package.RunOptions(backbone=package.BackboneOptions(backbone=str(tiny_backbone)))
    found = package.label_next("labelled", "pool", options=options)
    assert found.extraction.extracted == 0
    assert np.isfinite([picture.likeness for picture in found.pictures]).all()
