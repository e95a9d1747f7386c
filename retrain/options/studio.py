"""The options of the studio."""

import dataclasses
import ipaddress
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["StudioOptions"]


@dataclasses.dataclass(frozen=True)
class StudioOptions(Checked):
    """Where the studio listens, and what it may do."""

    host: str = option("127.0.0.1", "address to listen on: one of loopback", metavar="ADDRESS")
    port: int = option(8001, "port to listen on; 0 takes a free one", metavar="N", common=True)
    no_browser: bool = option(False, "print the page's address, but don't open it", common=True)
    read_only: bool = option(False, "show the folder, but let nothing be changed", common=True)
    unlabelled: str | None = option(
        None, "folder of pictures without labels, to label them in the studio", metavar="DIR", common=True
    )

    RANGES: ClassVar = {"port": (0, 65535)}

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            is_loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            is_loopback = self.host == "localhost"
        if not is_loopback:
            raise UsageError(
                f"--host {self.host}: the studio changes files, so it listens on loopback only; leave --host out (from "
                "another machine: ssh -L 8001:localhost:8001 THIS_MACHINE)"
            )
