"""Text for people: numbers with nouns, short lists, text that is safe in a terminal, paths that can be pasted."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "MOST_NAMED",
    "counted",
    "first_line",
    "listed_lines",
    "listing",
    "pasteable",
    "ratio",
    "shown",
    "shown_json",
]

MOST_NAMED = 10  # entries of a list in a message: a folder may have a thousand classes

# What a terminal obeys instead of showing: C0 and C1 control characters (and so escape sequences), Unicode's ends of
# lines and paragraphs, and characters that change the direction of text, so that one name reads like another.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, noun: str, verb: str = "") -> str:
    """A number with its noun, in singular or plural: "1 class", "2 classes", "1,200 distorted copies".

    Args:
        verb: both forms of a verb that follows, "is/are": "1 class is", "2 classes are".
    """
    one, _, many = f" {verb}".partition("/") if verb else ("", "", "")
    return f"{number:,} {noun}{one}" if number == 1 else f"{number:,} {plural(noun)}{f' {many}' if many else ''}"


def plural(noun: str) -> str:
    """The plural of a regular noun."""
    if re.search("(s|x|sh|[^o]ch)$", noun):  # epochs, but batches
        return f"{noun}es"
    return re.sub("(?<=[^aeiou])y$", "ie", noun) + "s"


def ratio(value: float | None) -> str:
    """A share in percent; a dash if there is none."""
    return "-" if value is None else f"{value:.1%}"


def listing(names: Iterable[str], most: int = MOST_NAMED) -> str:
    """Names for a message, separated by commas. A long list is cut: "a, b, c and 390 more"."""
    names = list(names)
    # "and 1 more" would take as much room as one more name
    kept = names if len(names) <= most + 1 else names[:most]
    more = f" and {len(names) - len(kept):,} more" if len(kept) < len(names) else ""
    return ", ".join(map(shown, kept)) + more


def listed_lines(entries: Sequence[str], more_in: str, most: int = MOST_NAMED) -> Iterator[str]:
    """An indented line for each entry. A long list ends with the number of those left out, and where to find them.

    Args:
        more_in: where all entries are: "all of them with --json".
    """
    kept = entries if len(entries) <= most + 1 else entries[:most]
    yield from (f"  {shown(entry)}" for entry in kept)
    if len(kept) < len(entries):
        yield f"  ... and {len(entries) - len(kept):,} more ({more_in})"


def shown(text: str, keep: str = "") -> str:
    r"""Text that a terminal can only show: ESC becomes \x1b.

    Args:
        keep: characters to leave alone, such as the ends of lines.
    """
    return _OBEYED.sub(_escaped_but(keep), text)


def shown_json(document: str) -> str:
    r"""The same JSON document, with the characters that a terminal would obey as \uNNNN, which means the same."""
    return re.sub(_OBEYED, lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", document)


def _escaped_but(keep: str) -> Callable[[re.Match[str]], str]:
    def escape(found: re.Match[str]) -> str:
        code = ord(found[0])
        if found[0] in keep:
            return found[0]
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return escape


def pasteable(path: str | os.PathLike[str]) -> str:
    """A path as a word for a shell, in commands that a person may copy.

    What a terminal can't show is written as bash and zsh read it: $'caf\\xe9'.
    """
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"  # not an option
    if not _OBEYED.search(text):
        return shlex.quote(text)
    bytes_of = (os.fsencode(char) for char in text)
    words = (
        char.replace("\\", "\\\\").replace("'", "\\'")
        if not _OBEYED.search(char)
        else "".join(f"\\x{byte:02x}" for byte in data)
        for char, data in zip(text, bytes_of, strict=True)
    )
    return f"$'{''.join(words)}'"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or else what it is called; 300 characters at most."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
