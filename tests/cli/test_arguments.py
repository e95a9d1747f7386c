"""What the parsers make of paths."""

import argparse
import dataclasses
import re
import subprocess

import pytest

from retrain.cli import original
from retrain.cli.arguments import Parser
from retrain.cli.main import build_parser, main
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
        (["predict", "http://a/m", "x.jpg"], "MODEL_DIR http://a/m is a URL"),
        (["predict", "m", "x.jpg", "https://a/b.jpg"], "PICTURE https://a/b.jpg is a URL"),
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


def printed(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "crossval", "extract", "inspect", "predict"])
def test_help_shows_the_common_options_and_says_how_to_see_all(command, capsys):
    short, full = printed(capsys, command, "--help"), printed(capsys, command, "--help-all")
    few, every = (set(re.findall("^  (--[a-z0-9-]+)", text, re.MULTILINE)) for text in (short, full))
    assert short.startswith(f"usage: retrain {command} [options] ")
    assert "--max-pixels" in every - few
    assert len(few) < 24
    assert "examples:\n  retrain" in short
    assert short.endswith(f"\n{len(every - few)} more options: retrain {command} --help-all\n")
    assert "--help-all" not in full
    assert every == {flag for flag in _options_of(command) if flag not in ("--help", "--help-all")}


@pytest.mark.parametrize("command", [["evaluate"], ["cache"], ["cache", "info"], ["backbones"], []])
def test_where_nothing_is_hidden_there_is_one_help(command, capsys):
    text = printed(capsys, *command, "--help")
    assert text == printed(capsys, *command, "--help-all")
    assert "--help-all" not in text
    assert "more option" not in text


def _options_of(command):
    parser = next(p for p in all_parsers(build_parser()) if p.prog == f"retrain {command}")
    return [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_choices_and_paths(shell, capsys, tmp_path):
    script = printed(capsys, "--print-completion", shell)
    for text in ("crossval", "--fine-tune-layers", "gradient-descent", "import"):
        assert text in script
    if shell == "bash":
        assert "_shtab_retrain_train___model_dir_COMPGEN=_shtab_compgen_dirs" in script
        assert "_shtab_retrain_train___labels_file_COMPGEN=_shtab_compgen_files" in script
        (tmp_path / "script").write_text(script)
        subprocess.run(["bash", "-n", tmp_path / "script"], check=True)
