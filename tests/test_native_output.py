"""What native code writes is kept off the terminal, by several threads at once, too."""

import os
import threading

from retrain import native_output


def test_it_comes_back_when_the_last_thread_leaves(capfd, monkeypatch):
    monkeypatch.setattr(native_output._State, "is_silenced", True)
    is_in, may_leave = threading.Event(), threading.Event()

    def stay():
        with native_output.no_native_output():
            is_in.set()
            may_leave.wait(10)
            os.write(2, b"late noise\n")

    thread = threading.Thread(target=stay)
    with native_output.no_native_output():
        thread.start()
        assert is_in.wait(10)
        os.write(2, b"early noise\n")
    os.write(2, b"noise while the other is in\n")
    may_leave.set()
    thread.join()
    os.write(2, b"a message\n")
    assert capfd.readouterr().err == "a message\n"


def test_a_library_leaves_it_alone(capfd, monkeypatch):
    monkeypatch.setattr(native_output._State, "is_silenced", False)
    with native_output.no_native_output():
        os.write(2, b"a message\n")
    assert capfd.readouterr().err == "a message\n"
