"""A manifest's text with another signing key of a client, or without a client.

Everything else in the file stays as the members wrote it, comments and all: what changes is what a
comparison shows them. How a key is revoked: the manifest that takes this one's place does not name
it, and from the moment at which the enclave goes by that (SPEC.md, section 11.7) it is no client's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fedenclave.membership.enrolment import Enrolment
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import key_to_text

_BLOCK = re.compile(r"^\[\[clients\]\][^\n]*\n(?:(?!\[)[^\n]*\n?)*", re.MULTILINE)


def exchange_keys(manifest: Manifest, enrolments: Sequence[Enrolment]) -> tuple[bytes, list[str]]:
    """Return the file with the enrolled clients' new keys, and a line about each.

    Raises:
        ConfigurationError: a client is not on the roster, is another organisation's there, or the
            file does not spell its key as `federation init` does.
    """
    text, said = manifest.source.decode(), []
    for enrolment in enrolments:
        entry = manifest.roster.get(enrolment.client)
        members = {member.name: member.key for member in manifest.members}
        if entry is None or entry.member != enrolment.member:
            raise ConfigurationError(
                f"the manifest has no client {enrolment.client} of {enrolment.member}",
                hint="a new client is written into the file by hand, as the others stand there",
            )
        if members[entry.member] != enrolment.member_key:
            raise ConfigurationError(
                f"the enrolment of {enrolment.client} names another key of {entry.member} than the "
                "manifest",
                hint="ask them whether it is theirs. a member's own key is changed by hand, and "
                "the member approves with both",
            )
        if entry.key == enrolment.client_key:
            raise ConfigurationError(
                f"the enrolment of {enrolment.client} names the key that it has already",
                hint="fedenclave client new-key writes the next one into next-enrolment.json",
            )
        old, new = f'"{key_to_text(entry.key)}"', f'"{key_to_text(enrolment.client_key)}"'
        if text.count(old) != 1:
            raise ConfigurationError(
                f"the manifest's text has the key of {enrolment.client} {text.count(old)} times, "
                "want once",
                hint=f"write {new} in its place by hand",
            )
        text = text.replace(old, new)
        said.append(f"client {enrolment.client}: {old.strip(chr(34))} becomes {new.strip(chr(34))}")
    return _checked(text), said


def remove_clients(manifest: Manifest, names: Sequence[str]) -> tuple[bytes, list[str]]:
    """Return the file without some clients, and a line about each.

    Raises:
        ConfigurationError: one is not on the roster, or too few would be left.
    """
    text = manifest.source.decode()
    for name in names:
        if name not in manifest.roster:
            raise ConfigurationError(
                f"the manifest has no client {name[:80]}",
                hint=f"it has {', '.join(sorted(manifest.roster))[:300]}",
            )
        key = f'"{key_to_text(manifest.roster[name].key)}"'
        blocks = [found for found in _BLOCK.finditer(text) if key in found.group()]
        if len(blocks) != 1:
            raise ConfigurationError(
                f"the manifest's text has {len(blocks)} tables [[clients]] of {name}, want one",
                hint="take it out by hand",
            )
        text = text[: blocks[0].start()] + text[blocks[0].end() :]
    left = _checked(text)
    still = [name for name in names if name in Manifest.from_bytes(left).roster]
    if still:
        raise ConfigurationError(f"the manifest would still have {', '.join(still)}")
    return left, [f"client {name}: on the roster no more" for name in names]


def _checked(text: str) -> bytes:
    source = text.encode()
    Manifest.from_bytes(source)
    return source
