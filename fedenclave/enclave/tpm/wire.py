"""Integers and sized buffers as a TPM writes them: big-endian, lengths before contents.

Source: TPM 2.0 Library, Part 2, sections 4.2 and 10.4 (TPM2B).
"""

from __future__ import annotations

from fedenclave.enclave.tpm.errors import TpmError


def u8(value: int) -> bytes:
    """Return a UINT8."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """Return a UINT16."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """Return a UINT32."""
    return value.to_bytes(4, "big")


def sized(data: bytes) -> bytes:
    """Return a TPM2B: the size in two bytes, then the contents."""
    return u16(len(data)) + data


class Fields:
    """A cursor over bytes from outside; `finish` refuses whatever is left."""

    def __init__(self, data: bytes, what: str) -> None:
        """Wrap `data`; `what` names it in messages."""
        self._data, self._what = data, what

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            TpmError: there are fewer.
        """
        if size > len(self._data):
            raise TpmError(f"{self._what} ends early: {len(self._data)} bytes left, want {size}")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def u8(self) -> int:
        """Return a UINT8."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return a UINT16."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Return a UINT32."""
        return int.from_bytes(self.take(4), "big")

    def sized(self) -> bytes:
        """Return the contents of a TPM2B."""
        return self.take(self.u16())

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(len(self._data))

    def want(self, wanted: bytes, field: str) -> None:
        """Take a field that can hold only one value.

        Raises:
            TpmError: it holds another.
        """
        found = self.take(len(wanted))
        if found != wanted:
            raise TpmError(f"{self._what} has {field} {found.hex()}, want {wanted.hex()}")

    def finish(self) -> None:
        """Refuse trailing bytes.

        Raises:
            TpmError: something is left.
        """
        if self._data:
            raise TpmError(f"{self._what} has {len(self._data)} bytes after its end")
