import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.pictures import REPOSITORY

from retrain.cli.main import build_parser
from retrain.options import Shard

SLURM = REPOSITORY / "examples" / "slurm.sh"
KUBERNETES = REPOSITORY / "examples" / "kubernetes-job.yaml"
EXAMPLES = sorted({*(REPOSITORY / "examples").glob("*.sh")} - {SLURM})

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


ECHO = f"#!{sys.executable}\nimport shlex, sys\nprint(shlex.join(sys.argv[1:]))\n"


@pytest.fixture
def commands_of(tmp_path):
    """Runs a shell command with a stand-in for retrain and srun; gives the commands that it would have run."""
    (tmp_path / "retrain").write_text(ECHO)
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for name in ("retrain", "srun"):
        (tmp_path / name).chmod(0o755)

    def run(command, **variables):
        environment = os.environ | variables | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return [build_parser().parse_args(shlex.split(line)) for line in done.stdout.splitlines()]

    return run


def test_the_slurm_script_is_a_job_array_of_all_parts(commands_of):
    [count] = map(int, re.findall(r"^#SBATCH --array=1-(\d+)$", SLURM.read_text(), re.MULTILINE))
    [command] = commands_of(["sh", SLURM, "/pictures", "/cache"], SLURM_ARRAY_TASK_ID=str(count))
    assert (command.image_dir, command.cache_dir, command.shard) == ("/pictures", "/cache", f"{count}/{count}")


def test_the_kubernetes_job_is_an_indexed_job_of_all_parts(commands_of):
    job = yaml.safe_load(KUBERNETES.read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    assert {*mounted.values()} == {"/pictures", "/cache"}
    count = job["spec"]["completions"]
    script = f"for JOB_COMPLETION_INDEX in $(seq 0 {count - 1}); do ({container['args'][0]}); done"
    commands = commands_of([*container["command"], script])
    assert {(args.image_dir, args.cache_dir) for args in commands} == {("/pictures", "/cache")}
    assert [Shard.parse(args.shard) for args in commands] == [Shard(number, count) for number in range(1, count + 1)]


def test_the_page_of_examples_names_them():
    page = (REPOSITORY / "examples" / "README.md").read_text()
    assert all(f"({path.name})" in page for path in (SLURM, KUBERNETES))
