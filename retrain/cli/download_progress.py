"""What a person sees of downloads: a bar on a terminal, a line every few seconds elsewhere. Used by `cli` alone."""

import os
import sys
import time
from typing import Any

from tqdm import tqdm

from retrain.backbones.sources.downloads import Listener

__all__ = ["DownloadProgress", "has_terminal"]

_LINE_SECONDS = 5.0  # between lines where there is no terminal
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_BAR_WITHOUT_TOTAL = "{desc}: {n_fmt} [{elapsed}, {rate_fmt}{postfix}]"
_MB = 10**6


class DownloadProgress(Listener):
    """Progress of downloads on stderr; warnings alone when quiet."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._what, self._done, self._total = "", 0, 0
        self._last_line = float("-inf")

    def begin(self, what: str, done: int, total: int | None) -> None:
        """Show a bar, or say in a line how much there is to come."""
        self.end()
        self._what, self._done, self._total = what, done, total or 0
        if self._quiet:
            return
        if has_terminal():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=f"downloading {what}",
                file=sys.stderr,
                bar_format=_BAR if total else _BAR_WITHOUT_TOTAL,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
            )
        else:
            self._line(now=True)

    def advance(self, count: int) -> None:
        """Move the bar, or say every few seconds how far it is."""
        self._done += count
        if self._bar is not None:
            self._bar.set_postfix_str("", refresh=False)
            self._bar.update(count)
        else:
            self._line()

    def wait(self, text: str) -> None:
        """Say what is waited for."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif not self._quiet and self._is_time():
            self._say(text)

    def end(self) -> None:
        """The bar stays as it is, and the cursor goes to the next line."""
        if self._bar is not None:
            self._bar.set_postfix_str("", refresh=False)
            self._bar.refresh()
            self._bar.close()
        self._bar = None

    def warn(self, text: str) -> None:
        """A warning, also when quiet."""
        self._say(f"warning: {text}")

    def _line(self, now: bool = False) -> None:
        if not self._quiet and (self._is_time() or now):
            of = f" of {self._total / _MB:.1f}" if self._total else ""
            self._say(f"downloading {self._what}: {self._done / _MB:.1f}{of} MB")

    def _is_time(self) -> bool:
        """Whether the last line is some time ago; the next one is now."""
        if time.monotonic() - self._last_line < _LINE_SECONDS:
            return False
        self._last_line = time.monotonic()
        return True

    @staticmethod
    def _say(text: str) -> None:
        tqdm.write(f"retrain: {text}", file=sys.stderr)


def has_terminal() -> bool:
    """Whether stderr is a terminal that says how large it is."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return min(size) > 0
