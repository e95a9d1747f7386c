"""Seeded damage for tests: other bytes, other JSON documents, and a watch over what hangs.

A run takes 100 mutations of a kind; with RETRAIN_SLOW=1 in the environment 2,000, of which the first 100 are the same.
"""

import contextlib
import copy
import faulthandler
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

MUTATIONS = 2000 if os.environ.get("RETRAIN_SLOW") == "1" else 100
HANG_SECONDS = 10.0

# What a value in a JSON document may be replaced by: other types, odd numbers, names that lead elsewhere.
_OTHER_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -1e308, float("nan"), float("inf")),
    *("", "0", "x" * 300, "../../../elsewhere/x", "/etc/x", ".", "..", "a\nb", "a\0b", "\ud800", "\x1b]0;x\x07", "Ä"),
    *([], [1, 2], [None], [[]], ["a"] * 3, {}, {"a": 1}, {"": {}}),
)


def mutations(data: bytes, count: int = MUTATIONS, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file, each with what was done to it; none is equal to the file.

    The n-th is the same whatever the count.
    """
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        other = data
        while other == data:
            what, other = _damaged(data, rng)
        yield f"{number}: {what}", other


def _damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    size = len(data)
    place = rng.randrange(size)
    length = min(size - place, 1 << rng.randrange(13))
    end = place + length
    kind = rng.choice(("bit", "bit", "bit", "byte", "extreme", "cut", "zeros", "noise", "insert", "delete", "move"))
    if kind == "bit":
        bit = rng.randrange(8)
        return f"bit {bit} of byte {place}", data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
    if kind == "byte":
        value = rng.randrange(256)
        return f"byte {place} is {value}", data[:place] + bytes([value]) + data[place + 1 :]
    if kind == "extreme":
        width, value = rng.choice((2, 4, 8)), rng.choice((b"\x00", b"\xff", b"\x7f"))
        return f"{width} bytes at {place} are {value!r}", data[:place] + value * width + data[place + width :]
    if kind == "cut":
        return f"cut at {place}", data[:place]
    if kind == "zeros":
        return f"{length} zeros at {place}", data[:place] + bytes(length) + data[end:]
    if kind == "noise":
        return f"{length} random bytes at {place}", data[:place] + rng.randbytes(length) + data[end:]
    if kind == "insert":
        return f"{length} random bytes put in at {place}", data[:place] + rng.randbytes(length) + data[place:]
    if kind == "delete":
        return f"{length} bytes at {place} left out", data[:place] + data[end:]
    target = rng.randrange(size)
    return f"{length} bytes from {place} also at {target}", data[:target] + data[place:end] + data[target + length :]


def json_mutations(document: Any, count: int = MUTATIONS, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Copies of a JSON document (an object or a list) that differ in one place, each with what was done to it.

    The n-th is the same whatever the count.
    """
    for number in range(count):
        rng = random.Random(f"{seed}/json/{number}")
        other, where = copy.deepcopy(document), [""]
        while repr(other) == repr(document):
            where = _change(other, rng)
        yield f"{number}: {where[0]}", other


def _change(document: Any, rng: random.Random) -> list[str]:
    """Change one place of a document; which, and to what."""
    places = list(_places(document, ""))
    container, key, path = rng.choice(places)
    kind = rng.choice(("other", "other", "other", "remove", "near", "swap"))
    if kind == "remove":
        del container[key]
        return [f"{path} left out"]
    value = container[key]
    if kind == "near" and isinstance(value, (int, float)) and not isinstance(value, bool):
        container[key] = value + rng.choice((-1, 1, 0.5))
    elif kind == "near" and isinstance(value, str) and value:
        at = rng.randrange(len(value))
        container[key] = value[:at] + chr(ord(value[at]) ^ 1 << rng.randrange(7)) + value[at + 1 :]
    elif kind == "swap":
        other, name, _ = rng.choice(places)
        container[key] = copy.deepcopy(other[name])
    else:
        container[key] = copy.deepcopy(rng.choice(_OTHER_VALUES))
    return [f"{path} is {container[key]!r:.80}"]


def _places(value: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """Every place of a document: what holds it, its key there, and its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key, f"{path}/{key}"
        yield from _places(inner, f"{path}/{key}")


@contextlib.contextmanager
def no_hang(seconds: float = HANG_SECONDS) -> Iterator[None]:
    """Ends the process, with a traceback on stderr, where the block takes longer.

    A library's C code that goes round in circles heeds no signal and lets no other thread run: only an end like this
    is certain. (pytest shows the traceback with -s.)
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
