"""The entry point of the command `retrain`. It sees to Ctrl-C before anything else.

Only for programs: importing it changes what Ctrl-C does.
"""

import signal

__all__ = ["main"]

# Until main() listens, which takes some imports, Ctrl-C silently ends the process, as with any program.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    """Run the command line, and return its exit code."""
    import contextlib
    import gc
    import os
    import sys

    from retrain import interruption

    gc.set_threshold(50_000)  # imports make many objects and hardly any garbage; looking for it takes 0.1 s
    try:
        interruption.listen()
        from retrain.cli import main as cli

        try:
            code = cli.main()
        finally:  # --help and --version exit from within
            interruption.stop_listening()
    except KeyboardInterrupt:  # before or after cli.main() handles it
        interruption.tell("retrain: error: interrupted")
        code = interruption.EXIT_INTERRUPTED
    if interruption.has_come():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)  # Python would wait for threads that may be loading a network
    gc.freeze()  # nor is it looked for at the end, which takes 0.07 s
    return code
