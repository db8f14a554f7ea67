"""Which attester is taken: what is named or nothing, and with `auto` what is there."""

import errno
import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import AttestationUnavailable, Attester
from fedenclave.enclave.attesters.choose import CHOICES, choose
from fedenclave.enclave.attesters.confidential_space import ConfidentialSpaceAttester
from fedenclave.enclave.attesters.configfs_tsm import TsmAttester
from fedenclave.enclave.attesters.gramine import GramineAttester
from fedenclave.enclave.attesters.insecure import InsecureAttester
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.nitro import NitroAttester
from fedenclave.enclave.attesters.sev_guest import SevGuestAttester
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.evidence import HARDWARE_FORMATS, INSECURE
from tests.enclave.fake_kernel import ConfigfsTsm, FakeKernel, Gramine, failure, nsm, sev_guest

REAL = ("azure-vm", "confidential-space", "tpm")
KEY = Ed25519PrivateKey.generate()
SOCKET = Path("/run/container_launcher/teeserver.sock")
SEV_GUEST = {"/dev/sev-guest": sev_guest(bytes)}
NSM = {"/dev/nsm": nsm(bytes)}


def chosen(choice: str, kernel: Kernel) -> Attester:
    return choose(choice, measurement=Digest(bytes(32)), protections=["a"], kernel=kernel)


def refused(choice: str, kernel: Kernel) -> AttestationUnavailable:
    with pytest.raises(AttestationUnavailable, match=Refusal.ATTESTATION) as unavailable:
        chosen(choice, kernel).evidence(bytes(64), KEY)
    return unavailable.value


@pytest.mark.parametrize(
    ("kernel", "kind", "name"),
    [
        (FakeKernel(gramine=Gramine(), devices=NSM), GramineAttester, "sgx"),
        (FakeKernel(devices=NSM | SEV_GUEST, files={SOCKET: b""}), NitroAttester, "nitro"),
        (
            FakeKernel(files={SOCKET: b""}, tsm=ConfigfsTsm("tdx_guest")),
            ConfidentialSpaceAttester,
            "",
        ),
        (FakeKernel(tsm=ConfigfsTsm("sev_guest"), devices=SEV_GUEST), TsmAttester, "sev-snp"),
        (FakeKernel(tsm=ConfigfsTsm("tdx_guest")), TsmAttester, "tdx"),
        (FakeKernel(tsm=ConfigfsTsm("arm_cca_guest")), TsmAttester, "cca"),
        (FakeKernel(devices={"/dev/sev-guest": sev_guest(lambda d: d)}), SevGuestAttester, ""),
        (FakeKernel(), InsecureAttester, "insecure"),
        (FakeKernel(tsm=ConfigfsTsm(None)), InsecureAttester, "insecure"),
        (FakeKernel(gramine=Gramine(kind=None)), InsecureAttester, "insecure"),
        (FakeKernel(devices={"/dev/tpmrm0": bytes}), InsecureAttester, "insecure"),
    ],
)
def test_auto_takes_the_first_that_is_there(
    kernel: FakeKernel, kind: type, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attester = chosen("auto", kernel)
    assert type(attester) is kind
    if name:
        assert attester.evidence(bytes(64), KEY).format == name
    assert ("no TEE is found" in capsys.readouterr().err) == (kind is InsecureAttester)


def test_auto_does_not_settle_for_less_where_hardware_is_there_and_does_not_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Forbidden(FakeKernel):
        def make_folder(self, path: Path) -> None:
            raise failure(errno.EACCES)

    why = refused("auto", Forbidden(tsm=ConfigfsTsm("sev_guest"))).why
    assert "Permission denied" in why
    assert "unknown to this" in refused("auto", FakeKernel(tsm=ConfigfsTsm("cove_guest"))).why
    tdx = refused("auto", FakeKernel(devices={"/dev/tdx_guest": bytes}))
    assert "TDX guest" in tdx.why
    assert "6.7" in tdx.hint
    assert "dcap" in refused("auto", FakeKernel(gramine=Gramine(kind=b"none"))).why
    assert capsys.readouterr().err == ""


def test_auto_where_this_user_may_not_look_is_an_error(tmp_path: Path) -> None:
    class Blind(Kernel):
        def exists(self, path: Path) -> bool:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    assert "cannot see which TEE this is" in refused("auto", Blind(tmp_path)).why


@pytest.mark.parametrize("name", [name for name in CHOICES if name not in ("auto", "insecure")])
@pytest.mark.parametrize("machine", ["none", "snp", "tdx"])
def test_a_name_is_that_or_nothing(name: str, machine: str, tmp_path: Path) -> None:
    provider = {"none": None, "snp": "sev_guest", "tdx": "tdx_guest"}[machine]
    kernel = FakeKernel(tsm=ConfigfsTsm(provider))
    if (name, machine) in (("sev-snp", "snp"), ("tdx", "tdx")):
        assert chosen(name, kernel).evidence(bytes(64), KEY).format == name
    else:
        # What has no fake here must not be this machine's own.
        elsewhere = f":{tmp_path / 'none'}" if name in REAL else ""
        assert refused(name + elsewhere, kernel).why


def test_insecure_is_taken_only_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = FakeKernel(tsm=ConfigfsTsm("sev_guest"))
    assert chosen("insecure", kernel).evidence(bytes(64), KEY).format == INSECURE
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "choice",
    [
        "",
        "SEV-SNP",
        "psa",
        "azure-maa",
        "auto:/dev/nsm",
        "insecure:",
        "nitro:",
        "nitro:dev/nsm",
        ":/dev/nsm",
        "tdx\n",
    ],
)
def test_what_is_no_choice_is_refused(choice: str) -> None:
    error = refused(choice, FakeKernel(devices=NSM))
    assert "want one of" in error.why
    assert "\n" not in error.why


def test_a_path_is_asked_in_place_of_the_usual_one() -> None:
    kernel = FakeKernel(devices={"/dev/other": nsm(lambda d: d), "/dev/snp": sev_guest(bytes)})
    assert chosen("nitro:/dev/other", kernel).evidence(bytes(64), KEY).format == "nitro"
    assert "/dev/nsm" in refused("nitro", kernel).why
    # A folder is configfs-tsm's, and everything else the device.
    assert type(chosen("sev-snp:/dev/snp", kernel)) is SevGuestAttester
    kernel = FakeKernel(tsm=ConfigfsTsm("sev_guest"))
    assert type(chosen("sev-snp:/sys/kernel/config/tsm/report", kernel)) is TsmAttester


def test_every_choice_is_a_format_that_a_policy_can_name() -> None:
    chosen_by_name = set(CHOICES) - {"auto", "insecure"}
    assert set(HARDWARE_FORMATS) - chosen_by_name == {"azure-maa", "psa"}
    assert chosen_by_name < set(HARDWARE_FORMATS)


# -- the real kernel, on ordinary files


def test_a_file_is_read_whole_or_refused(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    path = kernel.path("/a/b")
    assert path == tmp_path / "a" / "b"
    kernel.make_folder(path.parent)
    path.write_bytes(bytes(100))
    assert kernel.read(path, 100) == bytes(100)
    with pytest.raises(OSError, match="File too large"):
        kernel.read(path, 99)
    kernel.write(path, b"new")
    assert path.read_bytes() == b"new" + bytes(97)
    path.unlink()
    kernel.remove_folder(path.parent)
    assert not kernel.exists(path.parent)


def test_what_is_there_is_said_and_where_this_user_may_not_look_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, file = Kernel(), tmp_path / "file"
    file.write_bytes(b"")
    there = [tmp_path, file, tmp_path / "none", file / "below"]
    assert [kernel.exists(path) for path in there] == [True, True, False, False]
    assert [kernel.is_folder(path) for path in there] == [True, False, False, False]

    def forbidden(*_: object, **__: object) -> os.stat_result:
        raise failure(errno.EACCES)

    monkeypatch.setattr(os, "stat", forbidden)
    for look in (kernel.exists, kernel.is_folder):
        with pytest.raises(PermissionError):
            look(file)


def test_a_file_that_comes_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def send() -> None:
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            for _ in range(50):
                pipe.write(b"piece")

    thread = threading.Thread(target=send)
    thread.start()
    assert Kernel().read(tmp_path / "pipe", 1000) == b"piece" * 50
    thread.join()


def test_no_descriptor_is_left_open_whatever_a_file_answers(tmp_path: Path) -> None:
    kernel, file = Kernel(), tmp_path / "file"
    file.write_bytes(bytes(10))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        for doing in (
            lambda: kernel.read(file, 5),
            lambda: kernel.read(tmp_path, 5),
            lambda: kernel.ioctl(file, 0xC0200A00, bytearray(32)),
            lambda: kernel.write(Path("/dev/full"), b"x"),
        ):
            with pytest.raises(OSError, match=r"\w"):
                doing()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
