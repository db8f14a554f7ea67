"""Two starts of the approved code at the same moment measure it once, or are refused."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.enclave.tpm import connection, device, pcrs
from fedenclave.enclave.tpm.connection import Connection
from fedenclave.protocol.digests import sha256
from tests.tpm.swtpm import SoftwareTpm

MEASUREMENT = sha256(b"this enclave")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


class ManagedDevice(device._CharacterDevice):
    """A device with a resource manager below, which lets several processes in: /dev/tpmrm0."""

    def __init__(self, file: Path, tpm: device.Device, one_at_a_time: threading.Lock) -> None:
        super().__init__(os.open(file, os.O_RDWR | os.O_CREAT))
        self._tpm, self._lock, self._response = tpm, one_at_a_time, b""

    def send(self, data: bytes) -> None:
        with self._lock:
            self._response = self._tpm.exchange(data)

    def receive(self, size: int) -> bytes:
        return self._response[:size]


@pytest.fixture
def files(
    tpm: SoftwareTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Path]]:
    """Two device files of one TPM, as two containers have them."""
    lock, both = threading.Lock(), threading.Barrier(2)
    real = pcrs.extend

    def extend(tpm_: Connection, pcr: int, digest: bytes) -> None:
        # Whoever comes here has read zero. The other gets the time to read it too.
        with suppress(threading.BrokenBarrierError):
            both.wait(1.0)
        real(tpm_, pcr, digest)

    with device.opened(tpm.path) as shared:

        @contextmanager
        def opened(path: str) -> Iterator[device.Device]:
            stream = ManagedDevice(Path(path), shared, lock)
            try:
                yield device.Device(stream)
            finally:
                stream.close()

        monkeypatch.setattr(connection, "opened", opened)
        monkeypatch.setattr(pcrs, "extend", extend)
        yield tmp_path / "one", tmp_path / "other"


def start(*devices: Path) -> list[TpmAttester | str]:
    """Start enclaves at once; return them, or why one was refused."""

    def one(path: Path) -> TpmAttester | str:
        try:
            return TpmAttester(Kernel(), path, MEASUREMENT)
        except AttestationUnavailable as error:
            return error.why

    with ThreadPoolExecutor() as threads:
        return list(threads.map(one, devices))


def test_two_starts_at_once_measure_once(files: tuple[Path, Path]) -> None:
    for started in start(files[0], files[0]):
        assert isinstance(started, TpmAttester)
        assert started.evidence(bytes(64), KEY)


def test_where_no_lock_is_shared_two_starts_at_once_are_refused(files: tuple[Path, Path]) -> None:
    # One of them may have looked before the other extended; it then has no evidence.
    outcomes = start(*files)
    refused = [why for why in outcomes if isinstance(why, str)]
    assert refused
    for attester in outcomes:
        if isinstance(attester, TpmAttester):
            with pytest.raises(AttestationUnavailable) as unavailable:
                attester.evidence(bytes(64), KEY)
            refused.append(unavailable.value.why)
    assert all(why.startswith("pcr 11 holds ") for why in refused)
