"""A sealed key comes back to the same code on the same machine, and to nobody else."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.enclave.tpm import errors, objects, pcrs, policy, sealing
from fedenclave.enclave.tpm.connection import OWNER, Connection, connected
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR, QUOTED
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.templates import STORAGE_KEY, sealed_data
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import MalformedMessage
from tests.tpm.probe import Extra, loaded, set_password
from tests.tpm.swtpm import SoftwareTpm

MEASUREMENT = sha256(b"this enclave")
CHANGED = sha256(b"this enclave, with one changed line")
STATE_KEY = bytes(range(32))


def start(tpm: SoftwareTpm, measurement: Digest = MEASUREMENT) -> SoftwareTpm:
    """Start an enclave on the machine, which measures itself."""
    TpmAttester(Kernel(), tpm.socket, measurement)
    return tpm


def extend(tpm: SoftwareTpm, pcr: int) -> None:
    with connected(tpm.path) as connection:
        pcrs.extend(connection, pcr, bytes(32))


def refused(tpm: SoftwareTpm, sealed: bytes, measurement: Digest = MEASUREMENT) -> TpmError:
    with pytest.raises(TpmError) as error:
        sealing.unseal(tpm.path, sealed, measurement)
    assert loaded(tpm) == []
    return error.value


def test_the_same_code_gets_its_key_back(tpm: SoftwareTpm) -> None:
    sealed = sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT)
    assert sealing.unseal(tpm.path, sealed, MEASUREMENT) == STATE_KEY
    assert STATE_KEY not in sealed
    assert loaded(tpm) == []


def test_the_same_code_gets_its_key_back_after_a_reboot(tpm: SoftwareTpm) -> None:
    sealed = sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT)
    tpm.reboot()
    assert sealing.unseal(start(tpm).path, sealed, MEASUREMENT) == STATE_KEY


def test_changed_code_does_not_get_it_after_a_reboot(tpm: SoftwareTpm) -> None:
    sealed = sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT)
    tpm.reboot()
    start(tpm, CHANGED)
    assert "other register values" in refused(tpm, sealed, CHANGED).message
    assert refused(tpm, sealed).message.startswith("pcr 11 holds")


def test_nobody_gets_it_before_the_enclave_has_started(tpm: SoftwareTpm) -> None:
    sealed = sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT)
    tpm.reboot()
    assert refused(tpm, sealed).message.startswith("pcr 11 holds 0000")


@pytest.mark.parametrize("pcr", QUOTED)
def test_nobody_gets_it_after_one_more_extend(tpm: SoftwareTpm, pcr: int) -> None:
    sealed = sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT)
    extend(tpm, pcr)
    wanted = "pcr 11 holds" if pcr == ENCLAVE_PCR else "other register values"
    assert wanted in refused(tpm, sealed).message


@pytest.mark.parametrize("extra", [False, True], ids=["before-it-measured", "after-an-extend"])
def test_nothing_is_sealed_unless_pcr_11_holds_the_measurement(
    tpm: SoftwareTpm, extra: bool
) -> None:
    if extra:
        extend(start(tpm), ENCLAVE_PCR)
    with pytest.raises(TpmError, match="pcr 11 holds"):
        sealing.seal(tpm.path, STATE_KEY, MEASUREMENT)
    assert loaded(tpm) == []


@pytest.mark.parametrize("pcr", [0, ENCLAVE_PCR])
def test_nothing_is_sealed_while_the_registers_move(
    tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch, pcr: int
) -> None:
    real = objects.create

    def create(connection: Connection, parent: objects.Key, *more: Any) -> objects.Created:
        pcrs.extend(connection, pcr, bytes(32))
        created = real(connection, parent, *more)
        # Nor would it be of use to whoever moved them.
        handle = objects.load(connection, parent, created)
        with pytest.raises(TpmError, match="policy not satisfied"):
            objects.unseal(connection, handle, policy.pcr_session(connection, QUOTED))
        return created

    start(tpm)
    monkeypatch.setattr(objects, "create", create)
    with pytest.raises(TpmError, match="other register values"):
        sealing.seal(tpm.path, STATE_KEY, MEASUREMENT)


def test_the_policy_digest_is_the_tpms_own(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        pcrs.extend(connection, 4, bytes(range(32)))
        session = policy.pcr_session(connection, QUOTED)
        fields = connection.run(Extra.POLICY_GET_DIGEST, handles=[session])
        assert fields.sized() == policy.pcr_policy(QUOTED, pcrs.read(connection, QUOTED))


def test_the_tpm_itself_refuses_and_not_only_this_program(tpm: SoftwareTpm) -> None:
    stored = sealing.SealedKey.from_bytes(sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT))
    created = objects.Created(
        private=stored.private, public=stored.public, creation=b"", ticket=b""
    )
    extend(tpm, ENCLAVE_PCR)
    with connected(tpm.path) as connection:
        parent = objects.create_primary(connection, OWNER, STORAGE_KEY)
        handle = objects.load(connection, parent, created)
        session = policy.pcr_session(connection, QUOTED)
        with pytest.raises(TpmError, match="policy not satisfied"):
            objects.unseal(connection, handle, session)


def test_another_tpm_does_not_open_it(tpm: SoftwareTpm, other_tpm: SoftwareTpm) -> None:
    sealed = sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT)
    assert refused(start(other_tpm), sealed).code == errors.INTEGRITY


def forge(tpm: SoftwareTpm) -> sealing.SealedKey:
    """Seal a key of the host's choice to the values that an enclave will see, from outside it."""
    values = bytes(32) * 10 + hashlib.sha256(bytes(32) + MEASUREMENT).digest() + bytes(32)
    digest = hashlib.sha256(values).digest()
    command = bytes.fromhex("0000017f")
    wanted = hashlib.sha256(bytes(32) + command + pcrs.selection(QUOTED) + digest).digest()
    with connected(tpm.path) as connection:
        parent = objects.create_primary(connection, OWNER, STORAGE_KEY)
        created = objects.create(connection, parent, sealed_data(wanted), bytes(32), QUOTED)
    return sealing.SealedKey(
        private=created.private,
        public=created.public,
        creation=created.creation,
        ticket=created.ticket,
    )


def test_a_key_that_the_host_sealed_to_foreseen_values_is_refused(tpm: SoftwareTpm) -> None:
    forged = forge(tpm)
    assert "other register values" in refused(start(tpm), forged.to_bytes()).message


def test_a_forged_key_with_the_story_of_a_real_one_is_refused(tpm: SoftwareTpm) -> None:
    forged = forge(tpm)
    real = sealing.SealedKey.from_bytes(sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT))
    told = replace(forged, creation=real.creation, ticket=real.ticket)
    assert refused(tpm, told.to_bytes()).code == errors.TICKET
    # Nor with a story of its own making under the ticket it has.
    told = replace(forged, creation=real.creation)
    assert refused(tpm, told.to_bytes()).code == errors.TICKET


@pytest.mark.parametrize("field", ["private", "public", "creation", "ticket"])
def test_a_flipped_byte_anywhere_is_refused(tpm: SoftwareTpm, field: str) -> None:
    stored = sealing.SealedKey.from_bytes(sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT))
    data: bytes = getattr(stored, field)
    for at in range(0, len(data), 5):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        refused(tpm, replace(stored, **{field: flipped}).to_bytes())


def test_what_is_no_sealed_key_does_not_decode(tpm: SoftwareTpm) -> None:
    with pytest.raises(MalformedMessage):
        sealing.unseal(tpm.path, b"", MEASUREMENT)


@pytest.mark.parametrize("field", ["private", "public", "creation", "ticket"])
@pytest.mark.parametrize("size", [2 << 10, 70_000, 2 << 20])
def test_what_is_longer_than_any_sealed_key_is_refused_before_the_tpm_is_opened(
    field: str, size: int
) -> None:
    short = sealing.SealedKey(private=b"", public=b"", creation=b"", ticket=b"")
    sealed = replace(short, **{field: bytes(size)}).to_bytes()
    with pytest.raises(MalformedMessage, match="want at most"):
        sealing.unseal("/nonexistent", sealed, MEASUREMENT)


def test_a_field_that_is_too_long_for_the_tpm_is_the_one_error(tpm: SoftwareTpm) -> None:
    stored = sealing.SealedKey.from_bytes(sealing.seal(start(tpm).path, STATE_KEY, MEASUREMENT))
    for field in ("private", "public", "creation", "ticket"):
        longer: bytes = getattr(stored, field) + bytes(1400)
        refused(tpm, replace(stored, **{field: longer}).to_bytes())


def test_only_keys_are_sealed(tpm: SoftwareTpm) -> None:
    with pytest.raises(ValueError, match="want 32"):
        sealing.seal(tpm.path, b"short", MEASUREMENT)


def test_an_owner_with_a_password_is_said_to_be_the_reason(tpm: SoftwareTpm) -> None:
    start(tpm)
    with connected(tpm.path) as connection:
        set_password(connection, OWNER)
    with pytest.raises(TpmError, match="authorisation refused"):
        sealing.seal(tpm.path, STATE_KEY, MEASUREMENT)
    assert loaded(tpm) == []
