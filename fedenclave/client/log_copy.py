"""A client's copy of the enclave's log: everything that the enclave has signed, as it grows.

Each round's offer brings what the copy lacks. It counts only if the root over all of it is that of
a checkpoint that the enclave has signed. So one comparison shows that nothing was left out, changed
or added, and that the log goes on from what this client has seen.

SPEC.md, section 13.4.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fedenclave.client.refusals import HistoryRefused
from fedenclave.client.state import ClientState, RoundEnd
from fedenclave.protocol.digests import DIGEST_SIZE, Digest, equal
from fedenclave.protocol.exchange import LogPart
from fedenclave.protocol.log_file import MAGIC, frame, read_log
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import (
    Abort,
    Adoption,
    Amendment,
    Checkpoint,
    FederationStatement,
    Release,
    Start,
)

_TELLING: dict[str, type[FederationStatement]] = {
    each.TYPE: each for each in (Start, Amendment, Abort, Adoption, Release)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """The copy with what was brought: the new state, and what to write where."""

    state: ClientState
    entries: bytes
    position: int


def grown(state: ClientState, part: LogPart, to: Checkpoint) -> Grown:
    """Return the copy as it grows by `part` to the log of the checkpoint `to` (T7).

    Args:
        state: the client's; it is not changed.
        part: what the host brings; statements that the copy has are passed over.
        to: a checkpoint that the enclave has signed.

    Raises:
        MalformedMessage: the part is no part of a log file.
        HistoryRefused: with it the copy is not the log of `to`, or that does not go on from one
            that this client has seen.
    """
    tree = _tree(state)
    seen = {checkpoint.size: checkpoint.root for checkpoint in state.checkpoint}
    if max((*seen, tree.size)) > to.size or not _as_seen(tree, seen):
        raise _not_shown(state, to)
    awaited = {participation.round for participation in state.pending}
    kept, ends = [], [end for end in state.ends if end.round in awaited]
    rules = [Digest(state.log_manifest)] if state.log_manifest else []
    for signed in _lacking(state, part, to):
        tree.append(statement_digest(signed))
        kept.append(frame(signed))
        if not _as_seen(tree, seen):
            raise _not_shown(state, to)
        match _told(signed):
            case Abort(round=ended) | Adoption(round=ended) | Release(round=ended):
                if ended in awaited:
                    ends.append(RoundEnd(round=ended, checkpoint=_head(tree)))
            case Start(manifest=manifest) | Amendment(manifest=manifest):
                rules.append(manifest)
    if tree.size != to.size or not equal(tree.root(), to.root):
        raise _not_shown(state, to)
    entries = b"".join(kept)
    after = replace(
        state,
        log_size=tree.size,
        log_roots=b"".join(tree.roots),
        log_bytes=state.log_bytes + len(entries),
        log_manifest=rules[-1] if rules else b"",
        former=(*state.former, *rules[:-1]),
        ends=tuple(ends),
    )
    return Grown(state=after, entries=entries, position=state.log_bytes)


def _tree(state: ClientState) -> Frontier:
    roots = state.log_roots
    parts = [roots[at : at + DIGEST_SIZE] for at in range(0, len(roots), DIGEST_SIZE)]
    return Frontier.of(state.log_size, parts)


def _as_seen(tree: Frontier, seen: Mapping[int, Digest]) -> bool:
    return tree.size not in seen or equal(seen[tree.size], tree.root())


def _head(tree: Frontier) -> Checkpoint:
    return Checkpoint(size=tree.size, root=tree.root())


def _lacking(state: ClientState, part: LogPart, to: Checkpoint) -> Iterator[bytes]:
    """Yield the statements from the end of the copy up to `to`."""
    for number, entry in enumerate(read_log(io.BytesIO(MAGIC + part.entries)), part.first):
        if state.log_size <= number < to.size:
            yield entry.unverified


def _told(signed: bytes) -> FederationStatement | None:
    """Return a statement that changes more than the log. The root vouches for what it says."""
    envelope = Signed.from_bytes(signed)
    kind = _TELLING.get(envelope.type)
    return kind.from_bytes(envelope.payload) if kind is not None else None


def _not_shown(state: ClientState, to: Checkpoint) -> HistoryRefused:
    seen = max((*(checkpoint.size for checkpoint in state.checkpoint), state.log_size))
    return HistoryRefused(
        f"the enclave's log has {to.size} entries, and is not shown to go on from the {seen} that "
        "this client has seen",
        hint="the enclave was rolled back or forked, or the host hides it; keep this client's "
        "folder as proof and tell the other members",
    )
