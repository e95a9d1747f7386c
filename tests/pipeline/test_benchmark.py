"""The short look at a machine: what it measures, and what it makes of the figures."""

import json
import os

import pytest

from retrain.backbones import catalogue
from retrain.cli import main as cli
from retrain.pipeline import benchmark
from retrain.pipeline.benchmark import PrecisionRates


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(benchmark, "_SECONDS", 0.1)
    monkeypatch.setattr(benchmark.draw_pictures, "__defaults__", (40,))


def measured(capsys, *args):
    assert cli.main(["extract", "--benchmark", *map(str, args)]) == 0
    return capsys.readouterr()


@pytest.mark.slow
def test_a_machine_is_measured_on_a_folder(quick, make_folder, tiny_backbone, capsys):
    root = make_folder({"cat": 30, "dog": 30})
    answer = json.loads(measured(capsys, root, "--backbone", tiny_backbone, "--json").out)
    assert answer["pictures"] == 60
    assert answer["cores"] == len(os.sched_getaffinity(0))
    assert answer["decoding"] > 0
    rates = {rates["precision"]: rates for rates in answer["precisions"]}
    assert list(rates) == ["float32", "bfloat16", "int8"]
    for rate in rates.values():
        assert rate["reason"] or (rate["backbone"] > 0 and rate["pipeline"] > 0)
    assert rates["float32"]["reason"] is None
    assert "use --precision" in answer["recommendation"]
    assert os.listdir() == ["pictures"]  # no cache


@pytest.mark.slow
def test_without_a_folder_pictures_are_drawn(quick, tiny_backbone, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "PRECISIONS", ("float32",))
    shown = measured(capsys, "--backbone", tiny_backbone)
    assert "float32" in shown.out
    assert "Recommendation: " in shown.out
    assert "reading and decoding alone" in shown.err
    assert os.listdir() == []


def test_a_precision_is_not_chosen_beforehand(capsys):
    assert cli.main(["extract", "--benchmark", "--precision", "int8"]) == 2
    assert "leave --precision out" in capsys.readouterr().err


def test_extract_without_a_folder_is_wrong_usage(capsys):
    assert cli.main(["extract"]) == 2
    assert "IMAGE_DIR is missing" in capsys.readouterr().err


def test_a_folder_without_pictures_says_so(quick, tmp_path, tiny_backbone, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "none" / name).mkdir(parents=True)
        (tmp_path / "none" / name / "note.txt").write_text(f"no picture of a {name}")
    shown = measured(capsys, tmp_path / "none", "--backbone", tiny_backbone)
    assert "no picture could be read" in shown.out


@pytest.mark.parametrize(("given", "noted"), [("vgg16", True), ("files/vgg16", False), ("vgg16.onnx", False)])
def test_speeds_are_noted_of_networks_with_a_name(given, noted, monkeypatch, capsys):
    """A file may be called like another network."""
    found = benchmark.MachineBenchmark("x", 2, "vgg16", 1, 9.0, (PrecisionRates("float32", 7.0, 6.0),), "use it")
    heard = []
    monkeypatch.setattr(benchmark, "benchmark", lambda *_: found)
    monkeypatch.setattr(catalogue, "note_speed", lambda *noted: heard.append(noted))
    measured(capsys, "--backbone", given)
    assert heard == ([("vgg16", 7.0)] if noted else [])


SLOW = PrecisionRates("float32", 11, 10, 5)


@pytest.mark.parametrize(
    ("others", "decoding", "pictures", "wanted"),
    [
        ([PrecisionRates("int8", reason="missing")], 600, 500, ["use --precision float32: nothing is 1.2 times"]),
        ([PrecisionRates("int8", 12, 11.5, 25)], 600, 500, ["use --precision float32"]),
        (
            [PrecisionRates("int8", 26, 25, 35)],
            600,
            600,
            ["int8: 2.5 times as fast", "pays off from about 500 pictures"],
        ),
        ([PrecisionRates("int8", 26, 25, 35)], 600, 400, ["for these 400 preparing it", "longer than it saves"]),
        ([PrecisionRates("int8", 26, 25, 35, "cosine 0.95")], 600, 9000, ["; but cosine 0.95"]),
        ([PrecisionRates("int8", 12, 25, 35)], 600, 9000, ["the machine is probably busy"]),
        ([PrecisionRates("bfloat16", 21, 20, 5), PrecisionRates("int8", 31, 30, 9)], 40, 900, ["int8", "faster disk"]),
    ],
)
def test_what_is_recommended(others, decoding, pictures, wanted):
    text = benchmark._recommendation([SLOW, *others], decoding, pictures)
    for part in wanted:
        assert part in text
