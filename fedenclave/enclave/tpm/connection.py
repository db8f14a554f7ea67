"""Run commands, one at a time, and leave nothing loaded in the TPM.

Rules:
  * Whatever comes back is a result or a `TpmError`.
  * Every handle that the TPM gives is kept here as soon as it is read, and flushed in the end.
  * Authorisation is always an empty password, or a policy session.

Source: TPM 2.0 Library, Part 1, sections 18 and 19 (command and response structure, sessions),
Part 2, section 7 (handles); Part 3, TPM2_FlushContext.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum

from fedenclave.enclave.tpm.device import HEADER_SIZE, opened
from fedenclave.enclave.tpm.errors import TRY_AGAIN, TpmError, number, refused
from fedenclave.enclave.tpm.wire import Fields, u32

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_HEADER = struct.Struct(">HII")
_AUTHORISATION = struct.Struct(">IHBH")
_CONTINUE_SESSION = 0x01

OWNER = 0x40000001
NULL = 0x40000007
PASSWORD = 0x40000009
ENDORSEMENT = 0x4000000B

_FLUSHABLE = frozenset({0x02, 0x03, 0x80})
"""First byte of the handle of an HMAC session, a policy session, a transient object."""

PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Seconds before a command is sent again that the TPM was not ready for."""


class Command(IntEnum):
    """The commands in use (Part 2, section 6.5.2). The values are given by the specification."""

    NV_DEFINE_SPACE = 0x12A
    CREATE_PRIMARY = 0x131
    NV_INCREMENT = 0x134
    NV_EXTEND = 0x136
    ACTIVATE_CREDENTIAL = 0x147
    CERTIFY_CREATION = 0x14A
    NV_READ = 0x14E
    POLICY_SECRET = 0x151
    CREATE = 0x153
    LOAD = 0x157
    QUOTE = 0x158
    UNSEAL = 0x15E
    FLUSH_CONTEXT = 0x165
    NV_READ_PUBLIC = 0x169
    START_AUTH_SESSION = 0x176
    GET_CAPABILITY = 0x17A
    PCR_READ = 0x17E
    POLICY_PCR = 0x17F
    PCR_EXTEND = 0x182
    NV_CERTIFY = 0x184


class Connection:
    """A TPM that commands can be sent to."""

    def __init__(self, exchange: Callable[[bytes], bytes]) -> None:
        """Send through `exchange`, which returns the response to a command."""
        self._exchange = exchange
        self._loaded: list[int] = []

    def run(
        self,
        command: Command,
        *,
        handles: Sequence[int] = (),
        sessions: Sequence[int] = (),
        parameters: bytes = b"",
    ) -> Fields:
        """Run a command and return the parameters of its answer.

        Args:
            command: which.
            handles: what it works on.
            sessions: what authorises the use of the first `len(sessions)` handles.
            parameters: as the command defines them.

        Raises:
            TpmError: the TPM refuses, or its answer is none.
        """
        answer = self._answer(command, handles, sessions, parameters)
        return _parameters(answer, command, len(sessions))

    def load(
        self,
        command: Command,
        *,
        handles: Sequence[int] = (),
        sessions: Sequence[int] = (),
        parameters: bytes = b"",
    ) -> tuple[int, Fields]:
        """Run a command that loads something; return its handle and the answer's parameters.

        Raises:
            TpmError: the TPM refuses, or its answer is none.
        """
        answer = self._answer(command, handles, sessions, parameters)
        handle = answer.u32()
        if handle >> 24 not in _FLUSHABLE:
            raise TpmError(f"{_answer_to(command)} has handle {handle:#010x}")
        self._loaded.append(handle)
        return handle, _parameters(answer, command, len(sessions))

    def flush(self) -> None:
        """Remove from the TPM everything that this connection has loaded.

        Raises:
            TpmError: something could not be removed; the rest is.
        """
        failure: TpmError | None = None
        while self._loaded:
            try:
                self.run(Command.FLUSH_CONTEXT, parameters=u32(self._loaded.pop())).finish()
            except TpmError as error:
                failure = error
        if failure is not None:
            raise failure

    def _answer(
        self,
        command: Command,
        handles: Sequence[int],
        sessions: Sequence[int],
        parameters: bytes,
    ) -> Fields:
        body = b"".join(map(u32, handles))
        if sessions:
            area = b"".join(
                _AUTHORISATION.pack(session, 0, _CONTINUE_SESSION, 0) for session in sessions
            )
            body += u32(len(area)) + area
        body += parameters
        tag = _SESSIONS if sessions else _NO_SESSIONS
        sent = _HEADER.pack(tag, _HEADER.size + len(body), command) + body
        found, code, response = self._send(sent)
        for pause in PAUSES:
            if number(code) not in TRY_AGAIN:
                break
            time.sleep(pause)
            found, code, response = self._send(sent)
        if code:
            raise refused(command.name, code)
        if found != tag:
            raise TpmError(f"{_answer_to(command)} has tag {found:#06x}, want {tag:#06x}")
        return Fields(response, _answer_to(command))

    def _send(self, sent: bytes) -> tuple[int, int, bytes]:
        """Return the response's tag and code, and what follows; its size is the device's check."""
        response = self._exchange(sent)
        tag, _, code = _HEADER.unpack(response[:HEADER_SIZE])
        return tag, code, response[HEADER_SIZE:]


def _answer_to(command: Command) -> str:
    return f"the tpm's answer to {command.name}"


def _parameters(answer: Fields, command: Command, sessions: int) -> Fields:
    """Return the parameters of an answer whose sessions, if any, parse too."""
    if not sessions:
        return answer
    parameters = Fields(answer.take(answer.u32()), _answer_to(command))
    for _ in range(sessions):
        # The TPM's nonce, the session's attributes, an HMAC. There is nothing to check it with: no
        # session here is bound or salted.
        answer.sized()
        answer.u8()
        answer.sized()
    answer.finish()
    return parameters


@contextmanager
def connected(path: str, *, alone: bool = False) -> Iterator[Connection]:
    """Open the TPM at `path`; in the end, flush what was loaded, and close it.

    Args:
        path: a device or a socket.
        alone: wait for every other process that is connected like this; see `Device.claim`.

    Raises:
        TpmError: there is no TPM, another process keeps it, or what was loaded cannot be flushed.
    """
    with opened(path) as device:
        if alone:
            device.claim()
        connection = Connection(device.exchange)
        try:
            yield connection
        except BaseException:
            # The first error says what went wrong; that flushing fails too follows from it.
            with suppress(TpmError):
                connection.flush()
            raise
        connection.flush()
