"""What a person sees of a run as it goes on, on a terminal and without one."""

import contextlib
import fcntl
import io
import pty
import struct
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrain.cli import progress as progress_module
from retrain.cli.progress import DownloadProgress, Progress
from retrain.events import Evaluated, Extracted, Reported, StageBegan, TrainingBegan, Warned


def show():
    progress = Progress(quiet=False)
    progress.show(TrainingBegan(pictures=100, steps=50, epochs=None, batch_size=100))
    progress.show(StageBegan("extraction"))
    for done in (20, 60, 100):
        progress.show(Extracted(100, done, done - 20, (done - 20) / 10))
    progress.show(StageBegan("training"))
    progress.show(Evaluated(49, 1.0, 0.25, 0.9, 0.5))
    progress.show(Warned("something odd"))
    progress.show(StageBegan("export"))
    progress.close()


@pytest.fixture
def on_terminal(monkeypatch):
    """What the calls above show on a terminal of a size."""

    def call(rows, columns):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with ThreadPoolExecutor(1) as pool, open(theirs, "w", encoding="utf-8") as terminal:
            shown = pool.submit(read_all, ours)
            with monkeypatch.context() as patched:
                patched.setattr(sys, "stderr", terminal)
                show()
            terminal.close()
            return shown.result()

    return call


def read_all(ours):
    """What comes through a terminal until its other end is closed."""
    shown = b""
    with open(ours, "rb", buffering=0) as file, contextlib.suppress(OSError):  # how Linux says that it is closed
        while block := file.read(4096):
            shown += block
    return shown.decode()


def test_a_terminal_gets_bars_with_figures(on_terminal):
    shown = on_terminal(40, 140)
    assert "bottlenecks: 100%|" in shown
    assert "100/100" in shown
    assert "10.0 pictures/s" in shown
    assert "training: 100%|" in shown
    assert "train accuracy 100.0%, validation accuracy 90.0%, cross-entropy 0.2500" in shown
    assert "retrain: warning: something odd" in shown
    assert "writing the model ..." in shown


def test_a_terminal_without_a_size_gets_lines(on_terminal):
    shown = on_terminal(0, 0)
    assert "|" not in shown
    assert "bottlenecks: 100 of 100 pictures, 10.0 pictures/s" in shown
    assert "step 49: train accuracy 100.0%" in shown


def test_without_a_terminal_there_is_a_line_every_few_seconds(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    progress = Progress(quiet=False)
    progress.show(StageBegan("extraction"))
    for done in range(101):
        now[0] += 0.5
        progress.show(Extracted(100, done, done, done / 2))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "bottlenecks: 0 of 100 pictures are there already"
    assert lines[-1] == "bottlenecks: 100 of 100 pictures, 2.0 pictures/s, 0 s left"
    assert len(lines) == pytest.approx(11, abs=2)
    assert "2.0 pictures/s" in lines[1]


def test_quiet_says_nothing_but_warnings(capsys):
    progress = Progress(quiet=True)
    progress.show(StageBegan("extraction"))
    progress.show(Extracted(10, 10, 10, 1.0))
    progress.show(Evaluated(9, 1.0, 0.1, None, None))
    progress.show(StageBegan("export"))
    progress.show(Warned("odd"))
    assert capsys.readouterr().err == "retrain: warning: odd\n"


def test_epochs_are_shown_where_they_were_asked_for(capsys):
    progress = Progress(quiet=False)
    progress.show(TrainingBegan(pictures=400, steps=10, epochs=2.5, batch_size=100))
    progress.show(Evaluated(9, 1.0, 0.1, None, None))
    progress.show(TrainingBegan(pictures=400, steps=7, epochs=None, batch_size=100))
    assert capsys.readouterr().err == "step 9 (epoch 2.5 of 2.5): train accuracy 100.0%, cross-entropy 0.1000\n"
    assert progress.steps == 7


def downloads(monkeypatch, terminal, quiet=False):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("retrain.cli.progress._has_terminal", lambda: terminal)
    return DownloadProgress(quiet), stream


def test_a_download_has_one_bar_on_a_terminal(monkeypatch):
    progress, stream = downloads(monkeypatch, True)
    progress.begin("the weights", 0, 10**8)
    for _ in range(100):
        progress.advance(10**6)
    progress.wait("waiting for h, 2 s")
    progress.end()
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "downloading the weights: 100%|" in text
    assert "100M/100M" in text
    assert "waiting for h" in text


def test_a_download_without_a_length_has_a_bar_too(monkeypatch):
    progress, stream = downloads(monkeypatch, True)
    progress.begin("the weights", 0, None)
    progress.advance(10**6)
    progress.end()
    assert "downloading the weights: 1.00M" in stream.getvalue()


def test_a_download_without_a_terminal_has_few_lines(monkeypatch):
    progress, stream = downloads(monkeypatch, False)
    progress.wait("waiting for h, 2 s")
    progress.wait("waiting for h, 4 s")
    progress.begin("the weights", 0, 10**8)
    for _ in range(100):
        progress.advance(10**6)
    monkeypatch.setattr("retrain.cli.progress._LINE_SECONDS", 0.0)
    progress.advance(0)
    progress.end()
    assert stream.getvalue().splitlines() == [
        "retrain: waiting for h, 2 s",
        "retrain: downloading the weights: 0.0 of 100.0 MB",
        "retrain: downloading the weights: 100.0 of 100.0 MB",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_quiet_download_shows_warnings_only(terminal, monkeypatch):
    progress, stream = downloads(monkeypatch, terminal, quiet=True)
    progress.begin("the weights", 0, 10)
    progress.advance(10)
    progress.wait("waiting")
    progress.end()
    progress.warn("look out")
    assert stream.getvalue() == "retrain: warning: look out\n"


def test_work_for_the_report_is_shown(capsys, monkeypatch):
    monkeypatch.setattr("retrain.cli.progress._LINE_SECONDS", 0)
    progress = Progress(quiet=False)
    progress.show(StageBegan("report"))
    progress.show(Reported("comparing pictures", 0, 1))
    for done in (1, 25):
        progress.show(Reported("training heads", done, 25))
    progress.close()
    assert capsys.readouterr().err.splitlines() == [
        "comparing pictures: 0 of 1",
        "training heads: 1 of 25",
        "training heads: 25 of 25",
    ]
