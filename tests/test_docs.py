"""What the documents say of the program."""

import importlib.util
import re
import shlex

import pytest
from support.pictures import REPOSITORY

from retrain.cli.main import build_parser

README = (REPOSITORY / "README.md").read_text("utf-8")


def test_the_tables_of_options_are_those_of_the_parser():
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = generate.PAGE.read_text("utf-8")
    assert generate.updated(page) == page, "run: make docs"


PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_commands_that_a_page_shows_can_be_parsed(path):
    for line in re.findall(r"^    (?:\$ )?retrain ([a-z].*)$", path.read_text("utf-8"), re.MULTILINE):
        build_parser().parse_args(shlex.split(line, comments=True))


def test_the_readme_is_short_and_shows_the_main_commands():
    assert README.count("\n") <= 160
    shown = re.findall(r"^    (?:\$ )?retrain ([a-z]+) ", README, re.MULTILINE)
    assert {"train", "predict", "inspect"} <= set(shown)


def test_links_inside_the_documents_lead_somewhere():
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), target
