"""The counter only grows, whatever is done to its index, and its certificate names it."""

from dataclasses import replace

import pytest

from fedenclave.enclave.tpm import attestation_key, counter, nv
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.errors import TpmError
from tests.tpm.probe import loaded, undefine
from tests.tpm.swtpm import SoftwareTpm

_READ_AND_WRITE = 0x00060006
_COUNTER = 0x00000010
_ORDERLY = 0x04000000
"""Kept in volatile memory until the TPM is shut down."""

QUALIFYING = bytes(range(32))


def certified(tpm: SoftwareTpm) -> bytes:
    with connected(tpm.path) as connection:
        key = attestation_key.create(connection)
        return counter.certify(connection, key, QUALIFYING)[0]


def establish(tpm: SoftwareTpm) -> int:
    with connected(tpm.path) as connection:
        counter.establish(connection)
        return counter.read(connection)


def increment(tpm: SoftwareTpm) -> int:
    with connected(tpm.path) as connection:
        return counter.increment(connection)


def test_it_grows_by_one(tpm: SoftwareTpm) -> None:
    first = establish(tpm)
    assert [increment(tpm) for _ in range(3)] == [first + 1, first + 2, first + 3]
    assert loaded(tpm) == []


def test_establishing_it_again_changes_nothing(tpm: SoftwareTpm) -> None:
    assert establish(tpm) == establish(tpm)


def test_it_survives_a_reboot(tpm: SoftwareTpm) -> None:
    establish(tpm)
    value = increment(tpm)
    tpm.reboot()
    assert increment(tpm) == value + 1


def test_a_certificate_holds_its_name_its_value_and_what_was_asked(tpm: SoftwareTpm) -> None:
    establish(tpm)
    value = increment(tpm)
    attest = certified(tpm)
    assert attest.endswith(
        b"\x00\x22" + counter.NAME + b"\x00\x00" + b"\x00\x08" + value.to_bytes(8, "big")
    )
    assert QUALIFYING in attest
    assert loaded(tpm) == []


def test_removed_and_defined_again_it_has_the_same_name_and_goes_on(tpm: SoftwareTpm) -> None:
    establish(tpm)
    value = increment(tpm)
    with connected(tpm.path) as connection:
        undefine(connection, counter.INDEX)
    assert establish(tpm) > value
    assert counter.NAME in certified(tpm)


def test_an_ordinary_index_in_its_place_is_refused(tpm: SoftwareTpm) -> None:
    ordinary = nv.NvPublic(
        index=counter.INDEX,
        algorithm=0x000B,
        attributes=_READ_AND_WRITE,
        policy=b"",
        size=8,
        name=b"",
    )
    with connected(tpm.path) as connection:
        nv.define(connection, ordinary)
        for use in (counter.establish, counter.increment, counter.read):
            with pytest.raises(TpmError, match="is not the counter of this program"):
                use(connection)
        undefine(connection, counter.INDEX)
        nv.define(connection, replace(ordinary, attributes=_READ_AND_WRITE | _COUNTER | _ORDERLY))
        with pytest.raises(TpmError, match="is not the counter"):
            counter.establish(connection)
    assert loaded(tpm) == []


def test_without_a_counter_there_is_none_to_use(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        assert not counter.exists(connection)
        with pytest.raises(TpmError, match="NV_READ_PUBLIC"):
            counter.increment(connection)
