"""Sealers: what one has wrapped, the same one on the same machine unwraps, and nobody else."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fedenclave.enclave.attesters.configfs_tsm import TsmAttester
from fedenclave.enclave.attesters.gramine import GramineAttester
from fedenclave.enclave.attesters.insecure import InsecureAttester
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.nitro import NitroAttester
from fedenclave.enclave.attesters.sev_guest import SevGuestAttester
from fedenclave.enclave.sealing.choose import choose_sealer
from fedenclave.enclave.sealing.hardware_key import (
    GET_DERIVED_KEY,
    SGX_KEY,
    HardwareKeySealer,
    sgx_key,
    snp_key,
)
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import SealingFailed
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal

KEY = bytes(range(32))


def sealer_of(key: bytes, name: str = "sgx") -> HardwareKeySealer:
    return HardwareKeySealer(name, lambda: key)


def test_a_hardware_key_unwraps_what_it_has_wrapped_and_nothing_else() -> None:
    mine = sealer_of(b"k" * 16)
    wrapped = mine.wrap(KEY)
    assert KEY not in wrapped
    assert mine.wrap(KEY) != wrapped
    assert sealer_of(b"k" * 16).unwrap(wrapped) == KEY
    for other in (sealer_of(b"l" * 16), sealer_of(b"k" * 16, "sev-snp")):
        with pytest.raises(SealingFailed, match="state-unusable") as failed:
            other.unwrap(wrapped)
        assert "other code" in failed.value.why
    for at in range(len(wrapped)):
        changed = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        with pytest.raises(SealingFailed):
            mine.unwrap(changed)
    for size in range(len(wrapped)):
        with pytest.raises(SealingFailed):
            mine.unwrap(wrapped[:size])


def test_the_insecure_sealer_says_what_it_is_and_takes_nothing_else() -> None:
    sealer = InsecureSealer()
    wrapped = sealer.wrap(KEY)
    assert wrapped.startswith(b"insecure: ")
    assert sealer.unwrap(wrapped) == KEY
    assert (sealer.establish_anchor(), sealer.anchor()) == (b"", b"")
    with pytest.raises(SealingFailed):
        sealer.extend(bytes(32))
    unlabelled = bytes(len(wrapped) - len(KEY)) + KEY
    others = (unlabelled, sealer_of(b"k" * 16).wrap(KEY))
    for wrong in (b"", KEY, wrapped[:-1], wrapped + b"x", *others):
        with pytest.raises(SealingFailed):
            sealer.unwrap(wrong)


def test_sgx_gives_its_seal_key_by_gramines_file(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    path = tmp_path / SGX_KEY
    path.write_bytes(b"s" * 16)
    assert sgx_key(Kernel(), tmp_path) == b"s" * 16
    path.write_bytes(b"s" * 15)
    with pytest.raises(SealingFailed, match="state-unusable"):
        sgx_key(Kernel(), tmp_path)
    path.unlink()
    with pytest.raises(SealingFailed) as failed:
        HardwareKeySealer("sgx", lambda: sgx_key(Kernel(), tmp_path)).wrap(KEY)
    assert failed.value.why == "the sgx gives no sealing key: No such file or directory"
    assert failed.value.refusal is Refusal.STATE


class Firmware(Kernel):
    """Answers SNP_GET_DERIVED_KEY as the driver does, and keeps the request."""

    def __init__(self, status: int, key: bytes) -> None:
        super().__init__()
        self._answer = struct.pack("<I28x32s", status, key)
        self.request = b""

    def ioctl(self, device: Path, request: int, argument: bytearray) -> None:
        import ctypes

        assert (device, request) == (Path("/dev/sev-guest"), GET_DERIVED_KEY)
        version, asked, answer, _ = struct.unpack("<B7xQQQ", argument)
        assert version == 1
        self.request = ctypes.string_at(asked, 32)
        ctypes.memmove(answer, self._answer, len(self._answer))


def test_snp_derives_a_key_from_chip_policy_and_measurement() -> None:
    firmware = Firmware(0, b"d" * 32)
    assert snp_key(firmware, Path("/dev/sev-guest")) == b"d" * 32
    # VCEK; guest policy and measurement; no VMPL, SVN or TCB.
    assert struct.unpack("<IIQIIQ", firmware.request) == (0, 0, 0b1001, 0, 0, 0)


@pytest.mark.parametrize(("status", "key"), [(0x16, b"d" * 32), (0, bytes(32))])
def test_snp_without_a_key_is_said(status: int, key: bytes) -> None:
    with pytest.raises(SealingFailed) as failed:
        snp_key(Firmware(status, key), Path("/dev/sev-guest"))
    assert failed.value.why == f"/dev/sev-guest derives no key: status {status}"


def test_each_machine_seals_by_what_vouches_for_it(tmp_path: Path) -> None:
    kernel, path = Kernel(tmp_path), tmp_path / "x"
    chosen = [
        choose_sealer(attester, measurement=Digest(bytes(32)), kernel=kernel)
        for attester in (
            InsecureAttester(Digest(bytes(32)), []),
            GramineAttester(kernel, path),
            SevGuestAttester(kernel, path),
            TsmAttester(kernel, path, "sev-snp"),
            TsmAttester(kernel, path, "tdx"),
            NitroAttester(kernel, path),
        )
    ]
    assert [sealer and sealer.name for sealer in chosen] == [
        *("insecure", "sgx", "sev-snp", "sev-snp"),
        None,
        None,
    ]
