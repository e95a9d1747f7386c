"""What the documents say of the program."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import shutil

import pytest
from jsonschema import Draft202012Validator
from support.command import retrain
from support.pictures import REPOSITORY

import retrain as package
from retrain.cli.main import build_parser

PACKAGE = REPOSITORY / "retrain"
DOCS = REPOSITORY / "docs"
README = (REPOSITORY / "README.md").read_text("utf-8")
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(DOCS.rglob("*.md")), REPOSITORY / "examples" / "README.md"]


def test_the_tables_of_options_are_those_of_the_parser():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = generate.PAGE.read_text("utf-8")
    assert generate.updated(page) == page, "run: make docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_commands_that_a_page_shows_can_be_parsed(path):
    for line in re.findall(r"^    (?:\$ )?retrain ([a-z].*)$", path.read_text("utf-8"), re.MULTILINE):
        build_parser().parse_args(shlex.split(line, comments=True))


def test_the_readme_is_short_and_shows_the_main_commands():
    assert README.count("\n") <= 160
    shown = re.findall(r"^    (?:\$ )?retrain ([a-z]+) ", README, re.MULTILINE)
    assert {"train", "predict", "crossval"} <= set(shown)


def anchors_of(path):
    """The places in a page that a link may lead to, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_inside_the_documents_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        place = path.parent / name if name else path
        assert place.exists(), target
        if anchor:
            assert anchor in anchors_of(place), target


def test_the_index_names_every_page():
    index = (DOCS / "README.md").read_text("utf-8")
    for path in DOCS.rglob("*.md"):
        assert path.name == "README.md" or f"({path.relative_to(DOCS)})" in index, path.name


def test_the_map_names_rooms_and_modules_that_exist_and_every_room():
    page = (DOCS / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_]+/(?:[a-z_]+/)?|(?:[a-z_]+/)*[a-z_]+\.py)`", page))
    for name in named - {"saved_model/"}:
        assert (PACKAGE / name).exists() or (REPOSITORY / name).exists(), name
    rooms = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= named


def messages():
    """All texts in the package, with ... where a value comes in."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_troubleshooting_quotes_messages_that_exist():
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(quoted) > 15
    texts = re.sub(r"(\.\.\.)+", "...", "\0".join(messages()))
    for message in quoted:
        parts = [re.escape(part.strip()) for part in message.split("...")]
        pattern = re.compile(r"\s?(?:\.\.\.)?\s?".join(parts))
        assert pattern.search(texts), message


TINY = "backbone=retrain.BackboneOptions(backbone={!r})"

SCHEMA = json.loads((DOCS / "run.schema.json").read_text("utf-8"))


def undescribed(record, schema, path=""):
    """Fields of a record that the schema is silent about, though it lists others beside them."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    known = schema.get("properties")
    if known and isinstance(record, dict):
        for name, value in record.items():
            if name in known:
                yield from undescribed(value, known[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}"


def check_record(record):
    """A run.json fits the schema, and has no field that the schema does not describe."""
    Draft202012Validator(SCHEMA).validate(record)
    assert [*undescribed(record, SCHEMA)] == []


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_the_sample_of_run_json_fits_the_schema():
    page = (DOCS / "formats.md").read_text("utf-8")
    sample = re.search(r"```jsonc\n(.*?)```", page, re.DOTALL).group(1)
    record = json.loads(re.sub(r"\s//.*$", "", sample, flags=re.MULTILINE))
    check_record(record)
    assert record.keys() == SCHEMA["properties"].keys()


def test_run_json_of_an_earlier_version_fits_the_schema():
    golden = REPOSITORY / "tests" / "golden" / "version-0.1.0" / "model" / "run.json"
    check_record(json.loads(golden.read_text("utf-8")))


@pytest.mark.slow
def test_run_json_of_a_run_with_everything_fits_the_schema(make_folder, tiny_backbone):
    folder = make_folder({"cat": 30, "dog": 30})
    (folder / "cat" / "none.png").write_text("no picture")
    options = ["--augment", "1", "--flip", "--tune", "--tune-seconds", "1", "--calibrate", "--patience", "20"]
    done = retrain("train", folder, "--backbone", tiny_backbone, "--steps", "50", *options, "--json", check=0)
    record = json.loads(done.stdout)
    check_record(record)
    assert all(record[name] for name in ("augmentation", "tuning", "temperature"))
    assert record["extraction"]["left_out"]["classes"]


def test_the_page_of_the_python_api_names_all_of_it_and_nothing_else():
    page = (DOCS / "python.md").read_text("utf-8")
    named = set(re.findall(r"`(?:retrain\.)?([A-Za-z_]+)[`(]", page)) | set(
        re.findall(r"\bretrain\.([A-Za-z_]+)", page)
    )
    assert {*package.__all__} - {"__version__"} <= named
    for used in re.findall(r"\bretrain\.([A-Za-z_]+)", page + README):
        assert used in package.__all__ or used in ("py", "sklearn"), used


PYTHON = {
    "README.md": "rose.jpg rose",
    "docs/python.md": "rose.jpg rose",
    "docs/guide/scikit-learn.md": "retrainclassifier__l2",
    "docs/guide/vectors.md": "",
}


def test_every_page_with_python_is_run():
    found = {str(page.relative_to(REPOSITORY)) for page in PAGES if "```python" in page.read_text("utf-8")}
    assert found - {"CONTRIBUTING.md"} == PYTHON.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "said"), [(REPOSITORY / page, said) for page, said in PYTHON.items()], ids=PYTHON)
def test_the_python_of_the_documents_runs(make_folder, tiny_backbone, capsys, page, said):
    folder = make_folder({"daisy": 12, "rose": 12}, name="flower_photos")
    shutil.copytree(folder, "other_flowers")
    shutil.copy(folder / "rose" / "rose_000.png", "rose.jpg")
    shutil.copy(folder / "daisy" / "daisy_000.png", "tulip.png")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        code = block.replace('"efficientnet_lite0"', repr(str(tiny_backbone)))
        code = code.replace("RunOptions(training", f"RunOptions({TINY.format(str(tiny_backbone))}, training")
        code = code.replace('"model", emit', '"model", options, emit')
        exec(code, names)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_package_exists(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("retrain"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                    alias.name
                )
