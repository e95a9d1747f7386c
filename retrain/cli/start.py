"""Where the command `retrain` begins: nothing comes before Ctrl-C is looked after.

Only for programs: importing it changes what Ctrl-C does.
"""

import signal

__all__ = ["main"]

# Until main() listens, which takes some imports, Ctrl-C ends the process without a word, as it does any program.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    """Run the command line; its exit code."""
    import contextlib
    import os
    import sys

    from retrain import interruption

    try:
        interruption.listen()
        from retrain.cli import main as cli

        code = cli.main()
        interruption.stop_listening()
    except KeyboardInterrupt:  # where cli.main() does not heed it yet, or any more
        interruption.tell("retrain: error: interrupted")
        code = interruption.EXIT_INTERRUPTED
    if interruption.has_come():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)  # threads may be loading a network, for which Python would wait
    return code
