"""Processes that can't import TensorFlow, or Keras."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from support.command import Done

REFUSE_TENSORFLOW = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
"""

# TensorFlow imports Keras at its end, and does without it; it takes as long as all of TensorFlow
WITHOUT_KERAS = "import sys; sys.modules['keras'] = None\n"

_COMMANDS = (
    REFUSE_TENSORFLOW
    + """
import dataclasses, traceback
from support.command import Done, retrain

for line in sys.stdin:
    folder, arguments = json.loads(line)
    try:
        done = retrain(*arguments, cwd=folder)
    except BaseException:
        done = Done(1, "", traceback.format_exc())
    print(json.dumps(dataclasses.astuple(done)), flush=True)
"""
)


@contextlib.contextmanager
def refusing() -> Iterator[Callable[..., Done]]:
    """A process without TensorFlow that runs commands in the current folder, one after the other: run(*arguments)."""
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    command = [sys.executable, "-c", _COMMANDS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def run(*arguments: object) -> Done:
            process.stdin.write(json.dumps([os.getcwd(), [*map(str, arguments)]]) + "\n")
            process.stdin.flush()
            return Done(*json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()
