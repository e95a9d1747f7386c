"""The options of the server."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["ServingOptions"]


@dataclasses.dataclass(frozen=True)
class ServingOptions(Checked):
    """Where a server listens, whom it answers, and how much it takes on."""

    host: str = option(
        "127.0.0.1",
        "address to listen on; 0.0.0.0 makes it reachable from other machines",
        metavar="ADDRESS",
        common=True,
    )
    port: int = option(8000, "port to listen on; 0 takes a free one", metavar="N", common=True)
    token_file: str | None = option(
        None,
        "file with a token of 16 characters or more that clients must send (Authorization: Bearer TOKEN), and that the "
        "page asks for",
        metavar="FILE",
        common=True,
    )
    allowed_hosts: str | None = option(
        None,
        "names, separated by commas, that clients may call the server by, beside localhost, the machine's own name and "
        "IP addresses; * allows every name",
        metavar="NAMES",
    )
    show_report: bool = option(
        False,
        "show the models' reports also if --host is not loopback; a report has training pictures and paths in it",
    )
    max_batch: int = option(16, "pictures that go through a network together, at most", metavar="N")
    max_queue: int = option(
        128, "pictures that may wait, and that a request may have; beyond it, the answer is 503", metavar="N"
    )
    max_body: int = option(16, "size of a request's body, at most", metavar="MIB")
    max_pixels: int = option(
        50_000_000, "refuse pictures with more pixels than this; decoding takes up to 12 bytes per pixel", metavar="N"
    )
    timeout: float = option(30.0, "time that a request may take, with the sending of its body", metavar="SECONDS")

    RANGES: ClassVar = {
        "port": (0, 65535),
        "max_batch": (1, 1024),
        "max_queue": (1, 100_000),
        "max_body": (1, 1024),
        "max_pixels": (1, None),
        "timeout": (0.1, 3600),
    }
