"""What the host passes is read whole into the enclave's memory, or refused."""

import os
from collections.abc import Iterator

import pytest

from fedenclave.enclave.host_file import HostFile
from fedenclave.protocol.errors import Refusal, RequestRefused


@pytest.fixture
def descriptor() -> Iterator[int]:
    """A file of ten bytes."""
    number = os.memfd_create("test")
    os.pwrite(number, b"0123456789", 0)
    yield number
    os.close(number)


def test_positions_count_from_the_offset(descriptor: int) -> None:
    file = HostFile(descriptor, 3)
    assert (file.size(), file.read(4, 1)) == (7, b"4567")
    file.write(memoryview(b"ab"))
    assert os.pread(descriptor, 10, 0) == b"012ab56789"


@pytest.mark.parametrize(
    ("offset", "size", "position"),
    [(0, 11, 0), (0, 1, 10), (5, 6, 0), (2**63, 1, 0), (0, 1, 2**64)],
)
def test_a_read_beyond_the_end_gives_nothing_and_not_what_was_there_before(
    descriptor: int, offset: int, size: int, position: int
) -> None:
    with pytest.raises(RequestRefused) as refused:
        HostFile(descriptor, offset).read(size, position)
    assert refused.value.refusal is Refusal.STORAGE


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1])
def test_a_write_beyond_every_file_is_refused(descriptor: int, offset: int) -> None:
    with pytest.raises(RequestRefused) as refused:
        HostFile(descriptor, offset).write(memoryview(b"ab"))
    assert refused.value.refusal is Refusal.STORAGE
    assert os.pread(descriptor, 10, 0) == b"0123456789"


def test_what_is_read_is_a_copy_that_the_host_cannot_change(descriptor: int) -> None:
    buffer = bytearray(10)
    HostFile(descriptor).read_into(memoryview(buffer), 0)
    os.pwrite(descriptor, b"XXXXXXXXXX", 0)
    assert buffer == b"0123456789"


def test_what_the_kernel_reads_in_several_parts_is_read_whole(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads less than 2 GiB at a time, and a segment of the state may be longer."""
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda d, b, at: whole(d, [b[0][:3]], at))
    assert HostFile(descriptor, 1).read(8, 1) == b"23456789"
    with pytest.raises(RequestRefused) as refused:
        HostFile(descriptor, 1).read(9, 1)
    assert refused.value.refusal is Refusal.STORAGE
