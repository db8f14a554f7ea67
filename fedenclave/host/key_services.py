"""Carry an enclave's question to its federation's key services, and their answers back.

Each service is reached by a command of the operator's: what is on its standard input goes to the
service, what the service says is on its standard output. Nothing: "a challenge, please". A
`KeyRequest`: "your share, please". That is `fedenclave key-service answer` behind ssh, or whatever
else carries bytes there and back. The host can read or change all of it, and gains nothing.

SPEC.md, section 11.6.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedenclave.host.enclave_process import EnclaveProcess, last_error
from fedenclave.host.evidence_parts import with_parts
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.frames import Asked, AskRequest, Empty, Operation, UnlockRequest
from fedenclave.protocol.key_release import KeyChallenge, KeyRequest
from fedenclave.protocol.manifest import Manifest

Commands = Mapping[str, Sequence[str]]
"""How to reach each key service, by its name: a program and its arguments."""

_PATIENCE_SECONDS = 60.0


def unlock(
    enclave: EnclaveProcess, manifest: bytes, commands: Commands, parts: Mapping[str, bytes]
) -> None:
    """Have the key services release the key to the enclave's state, where it needs theirs.

    Args:
        enclave: one that has neither started nor resumed.
        manifest: the manifest file's bytes.
        commands: one for each service that it names, and no other.
        parts: what goes with the enclave's evidence; see `with_parts`.

    Raises:
        ConfigurationError: a command is missing, is no service's, or gives no answer.
        RequestRefused: the enclave has no evidence, or does not take an answer.
        EnclaveDied: the enclave's process ended.
    """
    names = [service.name for service in Manifest.from_bytes(manifest).key_services]
    if set(names) != set(commands):
        raise ConfigurationError(
            f"[key_services] names {', '.join(sorted(commands))}, and the manifest names "
            f"{', '.join(names) or 'no key service'}",
            hint="give a command for each that the manifest names, and for no other",
        )
    if not names:
        return
    challenges = tuple(_challenge(name, commands[name]) for name in names)
    ask = AskRequest(manifest=manifest, challenges=challenges)
    asked = enclave.request(Operation.ASK, ask, Asked)
    if not asked.request:
        return
    request = KeyRequest.from_bytes(asked.request)
    evidence = with_parts(Evidence.from_bytes(request.evidence), parts)
    question = replace(request, evidence=evidence.to_bytes()).to_bytes()
    answers = tuple(_told(name, commands[name], question) for name in names)
    enclave.request(Operation.UNLOCK, UnlockRequest(answers=answers), Empty)


def _challenge(name: str, command: Sequence[str]) -> KeyChallenge:
    told = _told(name, command, b"")
    try:
        return KeyChallenge.from_bytes(told)
    except MalformedMessage as error:
        raise ConfigurationError(
            f"key service {name} answers with something else than a challenge: {error.message}",
            hint=f"does its command print anything besides? {' '.join(command)}",
        ) from error


def _told(name: str, command: Sequence[str], question: bytes) -> bytes:
    """Return what a service answers.

    Raises:
        ConfigurationError: it answers nothing.
    """
    shown = " ".join(command) or "an empty command"
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, check=False, timeout=_PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise _no_answer(
            name, f"none within {_PATIENCE_SECONDS:.0f} seconds", f"try it by hand: {shown}"
        ) from error
    # ValueError and IndexError: no program can have such a name, or none is named.
    except (OSError, ValueError, IndexError) as error:
        raise _no_answer(name, f"{shown} cannot be run: {error}", "is it installed?") from error
    if done.returncode or not done.stdout:
        reason, hint = last_error(done.stderr)
        raise _no_answer(name, reason, hint or f"try it by hand: {shown}")
    return done.stdout


def _no_answer(name: str, reason: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"key service {name} gives no answer: {reason}", hint=hint)
