"""What tests have another process do."""

import os
import signal
import sys

from retrain.events import Noted


def pid_of(emit):
    return os.getpid()


def telling(text, emit):
    emit(Noted(text))
    return text.upper()


def raising(error, emit):
    raise error


def aborting(text, emit):
    sys.stderr.write(f"first\n{text}\n\n")
    sys.stderr.flush()
    os.abort()


def killed(emit):
    os.kill(os.getpid(), signal.SIGKILL)
