"""Read a vendor's binary structure strictly: every byte is asked for, and none is left over."""

from __future__ import annotations

from fedenclave.protocol.errors import MalformedMessage


class Reader:
    """A cursor over bytes; `finish` refuses whatever is left."""

    def __init__(self, data: bytes, what: str) -> None:
        """Wrap `data`; `what` names it in messages."""
        self._data, self._what, self._at = bytes(data), what, 0

    @property
    def at(self) -> int:
        """How many bytes were read."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            MalformedMessage: there are fewer.
        """
        if not 0 <= size <= self.left:
            raise MalformedMessage(
                f"{self._what} ends early: at byte {self._at} it has {self.left} more, want {size}"
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def little(self, size: int) -> int:
        """Return an unsigned little-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def big(self, size: int) -> int:
        """Return an unsigned big-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def part(self, size: int, what: str) -> Reader:
        """Return a reader over the next `size` bytes."""
        return Reader(self.take(size), what)

    def zeros(self, size: int, field: str) -> None:
        """Take reserved bytes.

        Raises:
            MalformedMessage: they are not all zero.
        """
        if any(self.take(size)):
            raise MalformedMessage(f"{self._what} has a reserved field that is not zero: {field}")

    def finish(self) -> None:
        """Refuse trailing bytes.

        Raises:
            MalformedMessage: something is left.
        """
        if self.left:
            raise MalformedMessage(f"{self._what} has {self.left} bytes after its end")
