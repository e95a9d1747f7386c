"""The options of pass one on a cluster."""

import dataclasses
import re
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, flag_of, option

__all__ = ["ClusterOptions"]


@dataclasses.dataclass(frozen=True)
class ClusterOptions(Checked):
    """The machines that pass one runs on."""

    ray: str | None = option(
        None,
        "extract on a Ray cluster (pip install 'retrain[ray]'): HOST:PORT of its head, auto for the cluster of this "
        "machine, or local for processes of this machine alone; all machines must see the pictures and the cache",
        metavar="ADDRESS|auto|local",
    )
    ray_actors: int | None = option(
        None, "processes that extract on the cluster (default: as many as there is room for)", metavar="N"
    )
    ray_resources: str | None = option(
        None,
        "what each of these processes takes: CPU, GPU, memory (bytes) or what your cluster calls its own, as in "
        "CPU=8,GPU=1 (default: four CPUs, or all of the smallest machine)",
        metavar="NAME=NUMBER[,...]",
    )

    RANGES: ClassVar = {"ray_actors": (1, 100_000)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("ray_actors", "ray_resources"):
            if self.ray is None and getattr(self, name) is not None:
                raise UsageError(f"{flag_of(name)} is for a Ray cluster: add --ray ADDRESS, or leave it out")
        if self.ray == "":
            raise UsageError("--ray is empty: expected HOST:PORT, auto or local")
        _ = self.resources

    @property
    def resources(self) -> dict[str, float]:
        """What each process takes of the cluster; empty: the default. Raises UsageError."""
        found: dict[str, float] = {}
        for word in self.ray_resources.split(",") if self.ray_resources is not None else ():
            name, _, number = (part.strip() for part in word.partition("="))
            if not name or not re.fullmatch(r"\d+(\.\d+)?", number) or name in found:
                raise UsageError(
                    f"--ray-resources {self.ray_resources}: expected names with numbers, each once, as in CPU=8,GPU=1"
                )
            found[name] = float(number)
        return found
