"""What the tests ask a TPM that the enclave never does."""

from enum import IntEnum

from fedenclave.enclave.tpm import nv
from fedenclave.enclave.tpm.connection import OWNER, PASSWORD, Connection, connected
from fedenclave.enclave.tpm.objects import Key
from fedenclave.enclave.tpm.templates import SHA256
from fedenclave.enclave.tpm.wire import sized, u16, u32
from tests.tpm.swtpm import SoftwareTpm

_AUTH = nv.AUTH_READ | 1 << 2
_VOLATILE = ((0x02000000, 0x02FFFFFF), (0x03000000, 0x03FFFFFF), (0x80000000, 0x80FFFFFF))


class Extra(IntEnum):
    """Commands that nothing in the enclave can send: most of them change the machine."""

    EVICT_CONTROL = 0x120
    NV_UNDEFINE_SPACE = 0x122
    NV_WRITE = 0x137
    HIERARCHY_CHANGE_AUTH = 0x129
    POLICY_GET_DIGEST = 0x189


def loaded(tpm: SoftwareTpm) -> list[int]:
    """Return the handles of every session and object that is loaded."""
    with connected(tpm.path) as connection:
        return [h for first, last in _VOLATILE for h in nv.defined(connection, first, last)]


def set_password(connection: Connection, hierarchy: int) -> None:
    """Give a hierarchy a password."""
    connection.run(
        Extra.HIERARCHY_CHANGE_AUTH,
        handles=[hierarchy],
        sessions=[PASSWORD],
        parameters=sized(b"password"),
    ).finish()


def undefine(connection: Connection, index: int) -> None:
    """Remove an index of the owner's."""
    connection.run(Extra.NV_UNDEFINE_SPACE, handles=[OWNER, index], sessions=[PASSWORD]).finish()


def define_and_write(connection: Connection, index: int, content: bytes) -> None:
    """Put `content` into an index that its own empty password opens."""
    public = nv.NvPublic(
        index=index, algorithm=SHA256, attributes=_AUTH, policy=b"", size=len(content), name=b""
    )
    nv.define(connection, public)
    for at in range(0, len(content), 512):
        connection.run(
            Extra.NV_WRITE,
            handles=[index, index],
            sessions=[PASSWORD],
            parameters=sized(content[at : at + 512]) + u16(at),
        ).finish()


def make_persistent(connection: Connection, key: Key, handle: int) -> None:
    """Keep a key of the owner's hierarchy in the TPM, under `handle`."""
    connection.run(
        Extra.EVICT_CONTROL,
        handles=[OWNER, key.handle],
        sessions=[PASSWORD],
        parameters=u32(handle),
    ).finish()
