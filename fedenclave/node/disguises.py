"""What would show a reader of an app's files another text than Python reads, or another file.

Source: PEP 263 (source encodings); Boucher and Anderson 2021, "Trojan Source".
"""

from __future__ import annotations

import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator, Mapping

# Characters that turn the direction of text.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BLANKS = frozenset("\t\n\r\f")
# Python ends a line there, and many a viewer does not.
_LONE_RETURN = re.compile(r"\r(?!\n)")
_MARK = "\ufeff"


def disguises(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what is disguised in an app's files."""
    for name, content in files.items():
        if not name.isascii():
            yield f"its file {name[:100]!a} has a name that is not ASCII, and can look like another"
        if name.endswith(".py") and (coding := _other_coding(content)):
            yield f"{name[:100]} is in the encoding {coding}, want UTF-8: a reader sees other text"
        text = content.decode(errors="replace").removeprefix(_MARK)
        hidden = _hidden(text) if name.endswith(".py") else _TURNING.search(text) is not None
        if hidden:
            yield f"{name[:100]} has characters that hide or turn what is written there"


def odd_names(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a source file where a name is not ASCII: it can look like another."""
    try:
        for token in tokenize.tokenize(io.BytesIO(content).readline):
            if token.type == tokenize.NAME and not token.string.isascii():
                yield token.start[0], f"a name that is not ASCII: {token.string[:40]!a}"
    except (tokenize.TokenError, SyntaxError):
        # Python itself reads this file (source.py): it is a matter of its last lines.
        return


def _other_coding(content: bytes) -> str:
    try:
        coding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    except (SyntaxError, LookupError):
        return "of no known name"
    return "" if coding in {"utf-8", "utf-8-sig"} else repr(coding[:40])


def _hidden(text: str) -> bool:
    return _LONE_RETURN.search(text) is not None or any(
        unicodedata.category(each) in {"Cc", "Cf"} and each not in _BLANKS
        for each in text
        if not each.isprintable()
    )
