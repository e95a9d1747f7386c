"""`retrain studio`: a page on a folder of pictures, to sort them and watch the model follow."""

import argparse
import contextlib
import logging
import os
import threading

from retrain.cli.arguments import Commands, add_command, add_log_options, add_options, options_from
from retrain.cli.output import print_text
from retrain.cli.serve import serving_packages
from retrain.cli.watch import add_live_model
from retrain.errors import UsageError
from retrain.events import Noted
from retrain.options import RunOptions, StudioOptions, WatchOptions
from retrain.paths import display_path

__all__ = ["add_studio_command"]


def add_studio_command(commands: Commands) -> None:
    """Add `studio`."""
    parser = add_command(
        commands,
        "studio",
        _studio,
        "open a local page on a folder of pictures: sort them, and watch the model follow",
        "  retrain studio flower_photos\n"
        "  retrain studio flower_photos --unlabelled new_photos\n"
        "  retrain studio flower_photos --undo",
    )
    group = parser.add_argument_group("undo")
    group.add_argument("--undo", action="store_true", help="take back the last change of the folder, and end")
    add_options(parser, "studio", StudioOptions, WatchOptions)
    add_live_model(parser)
    add_log_options(parser)


def _studio(args: argparse.Namespace) -> int:
    """Show the page until SIGTERM or Ctrl-C."""
    options, run = options_from(StudioOptions, args), options_from(RunOptions, args)
    watching = options_from(WatchOptions, args)
    if args.undo:
        return _undo(args.image_dir, options)
    from retrain.cli.progress import Progress

    with serving_packages("the studio", "studio"):
        from retrain.pipeline.studio import open_studio
    logging.getLogger("retrain.serving").setLevel(logging.ERROR)  # what nobody foresaw is told with its traceback
    progress = Progress(args.quiet)
    with open_studio(args.image_dir, options, run, watching, progress.show) as server:
        print_text(f"{display_path(args.image_dir)}: {server.url}", flush=True)
        if not options.no_browser:
            threading.Thread(target=_open, args=(server.url,), daemon=True).start()
        server.run()
    progress.show(Noted("the studio has ended"))
    return 0


def _undo(image_dir: str, options: StudioOptions) -> int:
    """Take back the last edit."""
    if options.read_only:
        raise UsageError("--undo changes the folder, and --read-only forbids it: leave one of them out")
    from retrain.cli.progress import Progress
    from retrain.pipeline.last_edit import take_back_last_edit

    edit = take_back_last_edit(image_dir, options.unlabelled, Progress(False).show)
    print_text(f"Took back: {edit.text}" if edit else "There is nothing to take back")
    return 0


def _open(url: str) -> None:
    """Open the page in the user's browser, if there is a screen for one. The address is printed in any case."""
    import webbrowser

    if not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return  # else a browser for text would take the terminal

    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(url)
