"""What the documents say of the program."""

import importlib.util
import re

from conftest import REPOSITORY

from retrain.cli import build_parser

README = (REPOSITORY / "README.md").read_text("utf-8")


def test_the_tables_of_options_are_those_of_the_parser():
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = generate.PAGE.read_text("utf-8")
    assert generate.updated(page) == page, "run: make docs"


def test_the_commands_that_the_readme_shows_can_be_parsed():
    shown = re.findall(r"^    (?:\$ )?retrain ([a-z]+ .*)$", README, re.MULTILINE)
    assert len(shown) >= 8
    for line in shown:
        build_parser().parse_args(line.partition(" #")[0].replace(" ...", "").split())


def test_links_inside_the_documents_lead_somewhere():
    for path in (REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), target
