"""`fedenclave node status`: what a node is doing and has done, for people and programs."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.table import Table

from fedenclave.cli.terminal import cell, err, out, print_insecure
from fedenclave.client.events import Event
from fedenclave.node.status import PRIVACY, NodeStatus


def iso(seconds: int) -> str:
    """Return a time as text, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def plain(status: NodeStatus) -> dict[str, object]:
    """Return it for a program; what could not be read is null."""
    run, log, state, rules = status.run, status.log, status.state, status.rules
    number, at = status.last_round
    receipts = status.receipts
    return {
        "at": status.at,
        "client": status.client,
        "node": {
            "running": run is not None,
            "pid": run.pid if run is not None else None,
            "since": run.since if run is not None else None,
            "connected": status.connected,
            "restarts": {part.value: number for part, number in status.restarts.items()},
        },
        "rounds": {
            "last": number or None,
            "last_at": at or None,
            "outcomes": dict(status.outcomes) if receipts is not None else None,
            "awaited": list(state.awaited) if state is not None else None,
        },
        "receipts": None
        if receipts is None
        else {
            "files": receipts.total,
            "verdicts": {verdict.value: n for verdict, n in receipts.verdicts.items()},
            "not_verifiable": dict(receipts.unverifiable),
            "contradictions": list(receipts.contradictions),
        },
        "evidence": None if status.evidence is None else dict(status.evidence),
        "manifest": None
        if rules is None
        else {
            "name": rules.name,
            "digest": rules.digest,
            "approvals": rules.approvals,
            "threshold": rules.threshold,
            "approved_by_owner": rules.own,
            "next": list(rules.next),
        },
        "apps": None
        if status.apps is None
        else [
            {"app": app.app_id, "version": app.version, "fab_hash": app.fab_hash}
            for app in status.apps
            if app.holds
        ],
        "log": None
        if log is None
        else {
            "entries": log.entries,
            "bytes": log.size_bytes,
            "checkpoint_entries": log.noted_size or None,
            "checkpoint_root": log.noted_root or None,
            "unverified_cosignatures": log.unverified_cosignatures,
        },
        "privacy": PRIVACY,
        "refusals": {
            "counts": {cause.value: n for cause, n in status.refusals.items()},
            "last": [{"at": event.at, **event.facts} for event in status.last_refusals],
        },
        "root_certificate_until": status.root_certificate_until,
        "attention": [
            {"what": each.what, "found": each.found, "hint": each.hint}
            for each in status.attention()
        ],
    }


def show(status: NodeStatus) -> None:
    """Print it for people: what there is, the last refusals, and what needs attention."""
    table = Table(title=cell(f"node of {status.client}"), show_header=False, show_lines=True)
    table.add_column()
    table.add_column(overflow="fold")
    for what, text in _rows(status).items():
        table.add_row(what, cell(text))
    out.print(table)
    if status.insecure:
        print_insecure("the last evidence is a development enclave's: no hardware protects updates")
    for each in status.attention():
        err.print(f"attention: {each.what}: {each.found}", markup=False)
        if each.hint:
            err.print(f"hint: {each.hint}", markup=False)


def _rows(status: NodeStatus) -> dict[str, str]:
    return {
        "node": _node(status),
        "rounds": _rounds(status),
        "receipts": _receipts(status),
        "last evidence": _evidence(status.evidence),
        "manifest": _manifest(status),
        "approved apps": _apps(status),
        "copy of the log": _log(status),
        "differential privacy": PRIVACY,
        "refusals": _refusals(status),
        "last refusals": "\n".join(map(_refusal, status.last_refusals)) or "none",
        "root certificate": _certificate(status.root_certificate_until),
    }


def _certificate(until: int | None) -> str:
    if until is None:
        return "unknown"
    return f"valid until {iso(until)}; this node's own keys do not expire"


def _node(status: NodeStatus) -> str:
    restarts = ", ".join(f"{part.value} {number}" for part, number in status.restarts.items())
    if status.run is None:
        return f"does not run; restarts so far: {restarts}"
    since = iso(status.run.since)
    link = "connected" if status.connected else "not connected"
    return f"runs, process {status.run.pid} since {since}; {link}; restarts so far: {restarts}"


def _rounds(status: NodeStatus) -> str:
    number, at = status.last_round
    last = f"last {number} at {iso(at)}" if number else "none yet"
    awaited = ", ".join(map(str, status.state.awaited)) if status.state is not None else "unknown"
    ended = ", ".join(f"{outcome} {n}" for outcome, n in status.outcomes.items())
    return f"{last}; {ended}; receipts awaited for: {awaited or 'none'}"


def _receipts(status: NodeStatus) -> str:
    receipts = status.receipts
    if receipts is None:
        return "unknown"
    counted = ", ".join(f"{verdict.value} {n}" for verdict, n in receipts.verdicts.items() if n)
    nothing, against = len(receipts.unverifiable), len(receipts.contradictions)
    proved = counted or "none that proves anything"
    return f"{receipts.total}: {proved}; not verifiable {nothing}; contradictions {against}"


def _evidence(evidence: Mapping[str, str | int | bool] | None) -> str:
    if evidence is None:
        return "none accepted yet"
    loud = "INSECURE: no hardware protects the updates; " if evidence.get("insecure") else ""
    return (
        f"{loud}{evidence.get('format', 'unknown')}: {evidence['status']}, at "
        f"{iso(int(evidence['at']))}, round {evidence.get('round', 'unknown')}, measurement "
        f"{evidence.get('measurement') or 'none'}"
    )


def _manifest(status: NodeStatus) -> str:
    rules = status.rules
    if rules is None:
        return "unknown"
    after = "".join(f"\nto come: {digest}" for digest in rules.next)
    return f"{rules.name}, {rules.digest}, {rules.approvals} approvals{after}"


def _apps(status: NodeStatus) -> str:
    if status.apps is None:
        return "unknown"
    held = [f"{app.app_id} {app.version}, {app.fab_hash}" for app in status.apps if app.holds]
    return "\n".join(held) or "none: nothing that a SuperLink sends runs here"


def _log(status: NodeStatus) -> str:
    log = status.log
    if log is None:
        return "unknown"
    noted = (
        f"checkpoint of {log.noted_size} entries, {log.noted_root}, "
        f"{log.unverified_cosignatures} cosignatures (not checked here)"
        if log.noted_size
        else "no checkpoint kept"
    )
    return f"{log.entries} entries, {log.size_bytes} bytes; {noted}"


def _refusals(status: NodeStatus) -> str:
    counted = ", ".join(f"{cause.value} {n}" for cause, n in status.refusals.items() if n)
    return counted or "none"


def _refusal(event: Event) -> str:
    facts = event.facts
    return f"{iso(event.at)} {facts['cause']} ({facts['asked']}): {facts.get('text', '')}"
