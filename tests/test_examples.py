import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.pictures import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.sh"))

# stands in for the command: takes what it would take, and writes it down
STAND_IN = f"""#!{sys.executable}
import sys
from retrain.cli.main import build_parser
from retrain.cli.arguments import options_from
from retrain.options import RunOptions
args = build_parser().parse_args(sys.argv[1:])
if sys.argv[1] == "train":
    options_from(RunOptions, args)
print(*sys.argv[1:], file=open("commands.txt", "a"))
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_command_of_an_example_is_one(path, tmp_path):
    (tmp_path / "retrain").write_text(STAND_IN)
    (tmp_path / "retrain").chmod(0o755)
    Path("pictures/tulips").mkdir(parents=True)
    Path("pictures/tulips/one.jpg").touch()
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["sh", path, "pictures"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    commands = Path("commands.txt").read_text().splitlines()
    assert commands[0].startswith("train pictures ")
    assert f"[{path.name}]({path.name})" in (REPOSITORY / "examples" / "README.md").read_text()


def test_there_are_five_examples():
    assert [path.stem for path in EXAMPLES] == ["alpaca", "animals10", "caltech", "flowers", "imagenette"]
