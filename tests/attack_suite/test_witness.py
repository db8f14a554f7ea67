"""What counts as stopped: refused, by what should refuse it, with nothing changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedenclave.attack_suite.attack import Attack, NotStopped, Open, Witness
from fedenclave.attack_suite.runner import Ending, Played, held, play, report
from fedenclave.attack_suite.world import Setting, Snapshot, World
from fedenclave.audit.receipt import ReceiptInvalid
from fedenclave.protocol.errors import EnclaveRefused, Reason, Refusal, RequestRefused
from fedenclave.protocol.frames import AdmissionResult, StatusReply

AT_REST = Snapshot(
    enclave=StatusReply(state="idle", round=1, admitted=0, log_size=3, resident_bytes=0),
    clients=(("a", b"state", 0),),
)
MOVED = Snapshot(enclave=AT_REST.enclave, clients=(("a", b"another", 0),))


def witness(*snapshots: Snapshot) -> Witness:
    """Return one who sees these snapshots in turn, the last of them again and again."""
    left = list(snapshots or (AT_REST,))
    return Witness(lambda: left.pop(0) if len(left) > 1 else left[0])


def raising(error: Exception) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


SMALL = raising(RequestRefused(Refusal.COHORT_TOO_SMALL))
ADMITTED = AdmissionResult(statement=b"", admitted=True, reason="")
REPLAYED = AdmissionResult(statement=b"", admitted=False, reason=Reason.REPLAYED.value)


def test_what_was_seen_is_kept_in_order() -> None:
    seen = witness()
    seen.refused("close", SMALL, Refusal.COHORT_TOO_SMALL)
    seen.rejected("submit", lambda: REPLAYED, Reason.REPLAYED)
    seen.client_refuses("offer", raising(EnclaveRefused("no such model")), saying="such model")
    seen.worthless("deliver", raising(ReceiptInvalid("it proves nothing")))
    seen.found("search", "nothing", stopped=True)
    assert [each.tried for each in seen.tries] == ["close", "submit", "offer", "deliver", "search"]
    assert seen.tries[0].stopped_by == "the enclave refuses: cohort-below-min-cohort"
    assert seen.tries[1].stopped_by == "the enclave rejects: replayed"
    assert seen.tries[2].stopped_by == "the client refuses: no such model"


@pytest.mark.parametrize(
    ("see", "why"),
    [
        (lambda w: w.refused("close", lambda: None, Refusal.DIFFERENCING), "it was done"),
        (lambda w: w.refused("close", SMALL, Refusal.DIFFERENCING), "want 'cohort-too-close"),
        (lambda w: w.rejected("submit", lambda: ADMITTED, Reason.REPLAYED), "was admitted"),
        (lambda w: w.rejected("submit", lambda: REPLAYED, Reason.MALFORMED), "want 'malformed'"),
        (lambda w: w.client_refuses("offer", lambda: None, saying="x"), "it was done"),
        (
            lambda w: w.client_refuses("offer", raising(EnclaveRefused("b")), saying="x"),
            "want 'x'",
        ),
        (lambda w: w.worthless("deliver", lambda: None), "it was done"),
        (lambda w: w.found("search", "the update", stopped=False), "the update"),
        (lambda w: w.control("close", "no release", well=False), "no release"),
    ],
)
def test_what_gets_through_or_is_refused_for_another_reason_is_not_stopped(
    see: Callable[[Witness], None], why: str
) -> None:
    seen = witness()
    with pytest.raises(NotStopped, match=why):
        see(seen)
    assert seen.tries == []


@pytest.mark.parametrize(
    "see",
    [
        lambda w: w.refused("close", SMALL, Refusal.COHORT_TOO_SMALL),
        lambda w: w.rejected("submit", lambda: REPLAYED, Reason.REPLAYED),
        lambda w: w.client_refuses("offer", raising(EnclaveRefused("x")), saying="x"),
        lambda w: w.worthless("deliver", raising(ReceiptInvalid("x"))),
    ],
)
def test_a_refusal_after_which_something_has_changed_is_not_stopped(
    see: Callable[[Witness], None],
) -> None:
    with pytest.raises(NotStopped, match="something changed all the same"):
        see(witness(AT_REST, MOVED))


def nothing(world: World, seen: Witness) -> None:
    """Try nothing, but look whether all is well."""
    seen.control("look", "all is well", well=True)


def breaks(world: World, seen: Witness) -> None:
    """Fail for a reason of its own."""
    raise KeyError("defect")


def test_an_attack_that_tries_nothing_or_breaks_is_not_stopped(installed: Setting) -> None:
    idle = play(Attack(id="T01-idle", title="", play=nothing), installed)
    assert (idle.ending, idle.why) == (Ending.NOT_STOPPED, "T01-idle tried nothing")
    broken = play(Attack(id="T01-broken", title="", play=breaks), installed)
    assert (broken.ending, broken.why) == (Ending.FAILED, "KeyError: 'defect'")
    assert not held([idle])
    assert not held([broken])


def ended(ending: Ending) -> Played:
    return Played(id="T01-x", row="T1", title="", ending=ending)


def test_the_suite_holds_where_all_is_stopped_or_open(installed: Setting) -> None:
    good = [ended(Ending.STOPPED), ended(Ending.OPEN)]
    assert held(good)
    bad = [*good, ended(Ending.NOT_STOPPED)]
    written = report(bad, installed)
    assert (written["held"], written["insecure"]) == (False, True)
    assert written["endings"] == {
        "stopped": 1,
        "not stopped": 1,
        "could not be played": 0,
        "open": 1,
    }


def test_what_is_open_is_not_played(installed: Setting) -> None:
    played = play(Open(id="T14-x", title="t", reason="not yet"), installed)
    assert (played.ending, played.why, played.tries) == (Ending.OPEN, "not yet", ())
