"""What the parsers make of paths."""

import argparse
import dataclasses

import pytest

from retrain.cli import original
from retrain.cli.arguments import Parser
from retrain.cli.main import build_parser
from retrain.options import RunOptions

PATHS = {"cache_dir", "labels_file", "weights", "backbone"}  # of the option classes


def all_parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from all_parsers(command)


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["train", "p", "--model-dir=~/m"], "model_dir", "/home/me/m"),
        (["train", "p", "--cache-dir=~/c"], "cache_dir", "/home/me/c"),
        (["train", "p", "--labels-file=~/l"], "labels_file", "/home/me/l"),
        (["train", "p", "--weights=~/w.h5"], "weights", "/home/me/w.h5"),
        (["train", "p", "--backbone=~/b"], "backbone", "/home/me/b"),
        (["train", "p", "--backbone=https://a.b/~c"], "backbone", "https://a.b/~c"),
        (["train", "~/p"], "image_dir", "/home/me/p"),
        (["inspect", "~/p", "--sheet=~/s.png"], "sheet", "/home/me/s.png"),
        (["predict", "~/m", "~/a.jpg", "b.jpg", "-"], "pictures", ["/home/me/a.jpg", "b.jpg", "-"]),
        (["evaluate", "~/m", "p"], "model_dir", "/home/me/m"),
        (["cache", "prune", "--keep=~/p", "--keep", "q"], "keep", ["/home/me/p", "q"]),
        (["cache", "import", "~/t", "--image-dir=~/p"], "text_dir", "/home/me/t"),
        (["train", "p", "--final-tensor-name=~"], "final_tensor_name", "~"),
    ],
)
def test_the_home_folder_may_be_meant(home, argv, name, value):
    assert getattr(build_parser().parse_args(argv), name) == value


def test_every_path_of_every_command_is_known_as_one():
    """A new option that takes a path has DIR, FILE or PICTURE in its metavar."""
    for parser in all_parsers(build_parser()):
        for action in parser._actions:
            said = action.dest in PATHS or action.dest.endswith(("_dir", "_file", "pictures"))
            metavar = str(action.metavar or "")
            assert said <= metavar.endswith(("DIR", "FILE", "PICTURE")), action.dest
    names = {field.name for stage in dataclasses.fields(RunOptions) for field in _fields(stage.default)}
    assert names >= PATHS


def _fields(stage):
    return dataclasses.fields(stage) if dataclasses.is_dataclass(stage) else ()


def test_the_original_command_line_too(home):
    flags = original._parse(
        ["--image_dir=~/p", "--output_graph=~/g.pb", "--bottleneck_dir=~/b", "--tfhub_module=~/module"]
    )
    assert (flags.image_dir, flags.output_graph) == ("/home/me/p", "/home/me/g.pb")
    assert (flags.bottleneck_dir, flags.tfhub_module) == ("/home/me/b", "/home/me/module")
    for name, kind, default, _ in original._FLAGS:
        is_path = kind is str and (str(default).startswith("/") or name.endswith("_dir"))
        assert is_path == (original._metavar(name) in ("DIR", "FILE")), name


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "https://a.b/c.tar.gz"], "IMAGE_DIR https://a.b/c.tar.gz is a URL: download what it names first"),
        (["predict", "http://a/m", "x.jpg"], "MODEL_DIR http://a/m is a URL"),
        (["predict", "m", "x.jpg", "https://a/b.jpg"], "PICTURE https://a/b.jpg is a URL"),
        (["evaluate", "m", "gs://a/b"], "IMAGE_DIR gs://a/b is a URL"),
        (["train", "p", "--labels-file", "https://a/l"], "--labels-file https://a/l is a URL"),
        (["train", "p", "--weights", "https://a/w"], "--weights https://a/w is a URL"),
        (["train", "p", "--model-dir", "s3://a/b"], "--model-dir s3://a/b is a URL"),
        (["cache", "info", "--cache-dir", "s3://a/b"], "--cache-dir s3://a/b is a URL"),
    ],
)
def test_a_url_is_to_be_downloaded_first(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(argv)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_url_in_the_original_command_line(capsys):
    with pytest.raises(SystemExit):
        original._parse(["--image_dir", "https://a/b"])
    assert "--image_dir https://a/b is a URL" in capsys.readouterr().err
    assert original._parse(["--image_dir", "x", "--tfhub_module", "https://a/b"]).tfhub_module == "https://a/b"


def test_an_error_of_usage_escapes_what_was_typed(capsys):
    with pytest.raises(SystemExit):
        Parser(prog="x").parse_args(["--a\x1b[2J"])
    assert r"--a\x1b[2J" in capsys.readouterr().err
