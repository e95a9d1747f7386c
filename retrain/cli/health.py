"""The health check of the Docker image: python -m retrain.cli.health

It asks the server that the container runs. A container that runs another command is always healthy.
"""

import ipaddress
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from retrain.options import ServingOptions

__all__ = ["health", "main"]

_SECONDS = 4.0


def health(words: Sequence[str]) -> str:
    """What is wrong with the server that a command line started; empty if nothing is."""
    if "serve" not in words:
        return ""
    host = _value(words, "--host", ServingOptions.host)
    url = f"http://{_reachable(host)}:{_value(words, '--port', str(ServingOptions.port))}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS):
            return ""
    except (OSError, ValueError) as error:
        return f"{url}: {error}"


def main() -> int:
    """Print what is wrong; the exit code is 1 then."""
    wrong = health([os.fsdecode(word) for word in Path("/proc/1/cmdline").read_bytes().split(b"\0")])
    if wrong:
        print(wrong)
    return 1 if wrong else 0


def _value(words: Sequence[str], flag: str, default: str) -> str:
    """The value of an option, given as --flag VALUE or --flag=VALUE."""
    value = default
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == flag:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def _reachable(host: str) -> str:
    """An address by which to reach a server that listens on an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return str(address) if address.version == 4 else f"[{address}]"


if __name__ == "__main__":
    sys.exit(main())
