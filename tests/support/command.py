"""The command `retrain`, in this process, where TensorFlow is imported already, or in a process of its own."""

import contextlib
import io
import logging
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrain.cli import main as cli

SCRIPT = str(Path(sys.executable).with_name("retrain"))


@dataclass(frozen=True)
class Done:
    """What came out of a command."""

    returncode: int
    stdout: str
    stderr: str


def retrain(*args, check=None, env=None, cwd=None) -> Done:
    """Run the command line in this process, as its console script would; `check` is the exit code that must come.

    What a process has at its start is as it would be there, and is put back: streams, arguments, folder, loggers,
    warnings, the number of files that may be open. What native code writes to file descriptor 2 is not seen here, an
    exception that would be a traceback is raised, and signals are not listened for: `installed` shows these.
    """
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch, _fresh_logging(), _kept_limits(), warnings.catch_warnings():
        patch.setattr(sys, "argv", ["retrain", *map(str, args)])
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            code = cli.main()
        except SystemExit as end:  # of argparse, after --help
            code = end.code or 0
    done = Done(code, *(stream.buffer.getvalue().decode("utf-8") for stream in streams))
    return _checked(done, check)


def installed(*args, check=None, env=None, cwd=None) -> Done:
    """Run the installed console script; `check` is the exit code that must come."""
    done = subprocess.run(
        [SCRIPT, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | (env or {}),
        cwd=cwd,
    )
    return _checked(Done(done.returncode, done.stdout, done.stderr), check)


def _checked(done: Done, code: int | None) -> Done:
    if code is not None:
        assert done.returncode == code, done.stderr + done.stdout
    return done


@contextlib.contextmanager
def _fresh_logging() -> Iterator[None]:
    """Loggers as at a process's start: without pytest's handlers, for with them logging.basicConfig does nothing."""
    root = logging.getLogger()
    noisy = [logging.getLogger(name) for name in ("tensorflow", "absl", "h5py")]
    levels = [(logger, logger.level) for logger in (root, *noisy)]
    handlers = root.handlers[:]
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for logger, level in levels:
            logger.setLevel(level)


@contextlib.contextmanager
def _kept_limits() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def one_line_error(done, *parts):
    lines = done.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("retrain: error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in errors[0], errors[0]
