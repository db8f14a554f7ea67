"""What Flower logs, in one short line for each record, whatever a SuperLink put into it.

A group's name with a million line breaks is a million lines in Flower's log, and looks like
anybody's. Here what came from outside is cut and made printable before it is written.
"""

from __future__ import annotations

import logging

from fedenclave.protocol.errors import printable

LONGEST = 200
_LONGEST_PART = 100


class OneLine(logging.Filter):
    """Lets every record that says something pass, as one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the record's text a short line, of which nothing is left to be formatted."""
        try:
            if isinstance(record.args, tuple):
                record.args = tuple(_short(each) for each in record.args)
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        record.msg, record.args = printable(" ".join(text[: 8 * LONGEST].split()))[:LONGEST], ()
        # A traceback has many lines, and may have values in them.
        if record.exc_info:
            kind = record.exc_info[0]
            record.msg += f" ({kind.__name__ if kind else 'no exception'})"
        record.exc_info = record.exc_text = record.stack_info = None
        return bool(record.msg)


def _short(part: object) -> object:
    """Return what is put into a line: numbers as they are, and all else as short text."""
    if isinstance(part, bool | int | float):
        return part
    return printable(str(part)[:_LONGEST_PART])[:_LONGEST_PART]


def keep_lines_short() -> None:
    """Have all that Flower and its server log in this process written so."""
    for name in ("flwr", "uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.addFilter(OneLine())
        for handler in logger.handlers:
            handler.addFilter(OneLine())
