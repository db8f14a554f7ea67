"""What a node is doing and has done, from what its folder keeps.

Rules:
  * It is only read: while the node runs, and after it has ended.
  * What cannot be read is named among the problems, and the rest is there.
  * Status and metrics (metrics.py) are one object, so that they cannot disagree.
  * Nothing of the node's data is in it: counts, times, digests, names of files, and reasons of
    refusals, which hold none (events.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from fedenclave.client.events import Event, EventFile, Events, Fact, Kind, Part
from fedenclave.client.folder import ClientFolder
from fedenclave.client.receipt_counts import ReceiptCounts, ReceiptJudge
from fedenclave.client.refusals import Cause
from fedenclave.client.standing import LogCopy, Rules, State, log_copy, rules_in_force, state_of
from fedenclave.node.approvals import AppApproval, AppApprovals
from fedenclave.node.configuration import read_configuration
from fedenclave.node.node_key import SOON_DAYS, check_root_certificate
from fedenclave.node.run_lock import Run, current_run
from fedenclave.protocol.errors import FedEnclaveError

T = TypeVar("T")

PRIVACY = "off: this version adds no noise to a release, and accounts for no budget"
LAST_REFUSALS = 10
_OFTEN, _HOUR = 3, 3600
# Refusals that say more than that one message was not as it should be.
_GRAVE = (Cause.HISTORY, Cause.EVIDENCE, Cause.MANIFEST, Cause.RECEIPT, Cause.DEFECT)
OUTCOMES = {
    "included": "released",
    "left out": "left-out",
    "set aside": "left-out",
    "round aborted": "aborted",
    "rejected": "rejected",
}
"""A round's outcome for this node, by its receipt's verdict. `refused` is the node's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What cannot be read, or needs somebody's attention."""

    what: str
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """All of it; what could not be read is None. Times are Unix seconds."""

    at: int
    client: str
    run: Run | None
    connected: bool
    events: Events
    receipts: ReceiptCounts | None
    state: State | None
    rules: Rules | None
    apps: tuple[AppApproval, ...] | None
    log: LogCopy | None
    root_certificate_until: int | None
    problems: tuple[Problem, ...]

    @property
    def restarts(self) -> Mapping[Part, int]:
        """How often each part has ended by itself and was started again, ever."""
        return {part: self.events.count(Kind.DIED, part) for part in Part}

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many rounds have ended how for this node."""
        counted = dict.fromkeys((*OUTCOMES.values(), "refused"), 0)
        for verdict, number in self.receipts.verdicts.items() if self.receipts else ():
            counted[OUTCOMES[verdict.value]] += number
        counted["refused"] = sum(
            number
            for (kind, labels), number in self.events.counts.items()
            if kind is Kind.REFUSED and labels[1:] == ("train",)
        )
        return counted

    @property
    def last_round(self) -> tuple[int, int]:
        """Number and time of the last round that an update was sealed for; zeros where none was."""
        sealed = self.events.latest.get(Kind.SEALED)
        if sealed is not None:
            return int(sealed.facts.get("round", 0)), sealed.at
        newest = self.receipts.newest if self.receipts else None
        return (newest.round, newest.judged_at) if newest is not None else (0, 0)

    @property
    def refusals(self) -> Mapping[Cause, int]:
        """How often what was refused; every cause is there."""
        return {cause: self.events.count(Kind.REFUSED, cause) for cause in Cause}

    @property
    def last_refusals(self) -> tuple[Event, ...]:
        """The last ones, the newest last."""
        refused = [event for event in self.events.recent if event.kind is Kind.REFUSED]
        return tuple(refused[-LAST_REFUSALS:])

    @property
    def evidence(self) -> Mapping[str, Fact] | None:
        """The last evidence that was accepted: format, status, measurement, insecure, round, at."""
        appraised = self.events.latest.get(Kind.APPRAISED)
        if appraised is not None:
            return {**appraised.facts, "at": appraised.at}
        newest = self.receipts.newest if self.receipts else None
        if newest is None:
            return None
        result = newest.attestation
        return {
            "status": result.status,
            "format": result.format,
            "measurement": result.measurement,
            "insecure": result.insecure,
            "exceptions": len(result.excepted),
            "round": newest.round,
            "at": newest.judged_at,
        }

    @property
    def insecure(self) -> bool:
        """Whether the last evidence that was accepted has no hardware behind it."""
        evidence = self.evidence
        return evidence is not None and evidence.get("insecure") is True

    def attention(self) -> list[Problem]:
        """Return what somebody should look at; empty for a node that is well."""
        return [
            *self.problems,
            *_running(self),
            *_not_approved(self),
            *_found_in_receipts(self),
            *_refused(self),
        ]


def _running(status: NodeStatus) -> list[Problem]:
    found = []
    if status.run is None:
        hint = "start it: fedenclave node run; its log says how the last run ended"
        found.append(Problem(what="node", found="does not run", hint=hint))
    elif not status.connected:
        hint = "logs/node.log says why; is the SuperLink up, and the proxy, if there is one?"
        found.append(Problem(what="connection", found="not connected to the SuperLink", hint=hint))
    died = [
        event
        for event in status.events.recent
        if event.kind is Kind.DIED and event.at > status.at - _HOUR
    ]
    if len(died) > _OFTEN:
        found.append(
            Problem(
                what="restarts",
                found=f"{len(died)} in the last hour",
                hint="logs/node.log says what its parts wrote before they ended",
            )
        )
    until = status.root_certificate_until
    if until is not None and until - status.at < SOON_DAYS * 24 * _HOUR:
        day = datetime.fromtimestamp(until, UTC)
        hint = "ask the operator for the next one"
        found.append(
            Problem(what="root certificate", found=f"valid until {day:%Y-%m-%d}", hint=hint)
        )
    return found


def _not_approved(status: NodeStatus) -> list[Problem]:
    found = []
    if status.apps is not None and not any(app.holds for app in status.apps):
        hint = "read one, then: fedenclave node approve APP"
        found.append(Problem(what="apps", found="no app is approved: nothing runs", hint=hint))
    rules = status.rules
    if rules is not None and not (rules.own and rules.approvals >= rules.threshold):
        whose = "" if rules.own else ", and the owner's own is missing"
        said = f"{rules.name} has {rules.approvals} approvals, want {rules.threshold}{whose}"
        hint = "fedenclave node check says what to do"
        found.append(Problem(what="manifest", found=said, hint=hint))
    return found


def _found_in_receipts(status: NodeStatus) -> list[Problem]:
    if status.receipts is None:
        return []
    hint = "fedenclave receipts verify FOLDER shows all of it"
    against = [
        Problem(what="receipts", found=each, hint=hint) for each in status.receipts.contradictions
    ]
    if missing := status.receipts.unverifiable:
        names = ", ".join(sorted(missing)[:3])
        found = f"{len(missing)} prove nothing: {names}"
        against.append(Problem(what="receipts", found=found, hint=hint))
    return against


def _refused(status: NodeStatus) -> list[Problem]:
    """Return the grave refusals since an update was last sealed."""
    _, since = status.last_round
    grave = [
        event
        for event in status.last_refusals
        if event.at >= since and Cause(str(event.facts["cause"])) in _GRAVE
    ]
    if not grave:
        return []
    newest = grave[-1]
    hint = "nothing was sent; logs/node.log has the hint to it"
    found = f"{newest.facts['cause']}: {newest.facts.get('text', '')}"
    return [Problem(what="refused", found=found, hint=hint)]


class StatusReader:
    """Reads one node's status, again and again."""

    def __init__(self, client_folder: Path) -> None:
        """Use the folder; nothing is read yet."""
        self._path, self._folder = client_folder, ClientFolder(client_folder)
        self._receipts = ReceiptJudge(self._folder)
        self._events = EventFile(client_folder)

    def read(self, now: int | None = None) -> NodeStatus:
        """Return the status.

        Args:
            now: Unix seconds; by default the present time.

        Raises:
            ConfigurationError: the folder holds no client.
        """
        at = int(time.time()) if now is None else now
        problems: list[Problem] = []
        identity = self._folder.identity()

        def part(what: str, read: Callable[[], T]) -> T | None:
            try:
                return read()
            except FedEnclaveError as error:
                problems.append(Problem(what=what, found=error.message, hint=error.hint))
            except OSError as error:
                found = f"cannot be read: {error.strerror}"
                problems.append(Problem(what=what, found=found, hint="may this user read it?"))
            return None

        events = part("events", self._events.read) or Events()
        if events.unreadable:
            found = f"{events.unreadable} lines of {self._events.path.name} cannot be read"
            hint = "it was changed, or the disk is not well; what they counted is lost"
            problems.append(Problem(what="events", found=found, hint=hint))
        run = part("run", lambda: current_run(self._path))
        state = part("state", lambda: state_of(self._folder))
        records = part("apps", lambda: AppApprovals(self._path).records())
        return NodeStatus(
            at=at,
            client=identity.client,
            run=run,
            connected=run is not None and _connected(events),
            events=events,
            receipts=part("receipts", lambda: self._receipts.counts(at)),
            state=state,
            rules=part("manifest", lambda: rules_in_force(self._folder)),
            apps=None if records is None else tuple(records),
            log=part("log", lambda: log_copy(self._folder)),
            root_certificate_until=part("root certificate", lambda: self._until(at)),
            problems=tuple(problems),
        )

    def _until(self, at: int) -> int:
        configuration = read_configuration(self._path)
        now = datetime.fromtimestamp(at, UTC)
        return int(check_root_certificate(configuration.root_certificate, now).timestamp())


def _connected(events: Events) -> bool:
    """Return whether the newest run's SuperNode said last that it is connected."""
    told = (Kind.STARTED, Kind.CONNECTED, Kind.DISCONNECTED, Kind.ENDED)
    newest = next((event for event in reversed(events.recent) if event.kind in told), None)
    if newest is None:  # so long ago that its line has made room for others
        latest = [event for kind, event in events.latest.items() if kind in told]
        newest = max(latest, key=lambda event: event.at, default=None)
    return newest is not None and newest.kind is Kind.CONNECTED
