"""`fedenclave federation revocations` and `client revocations`: members sign, a client keeps."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import BANKS, Command


def test_members_sign_revocations_and_a_client_takes_no_older_list(
    federation: Path, fedenclave: Command
) -> None:
    text = (
        'version = 1\nfederation = "banks"\nserial = {}\n'
        'issued = "2026-11-25T00:00:00Z"\nexpires = "2027-11-25T00:00:00Z"\n'
    )
    for serial in (1, 2):
        source = federation / f"list-{serial}.toml"
        source.write_text(text.format(serial))
        signed: Path = source
        for bank in BANKS:
            out = federation / f"list-{serial}.signed"
            words = ("federation", "revocations", signed, "--dir", federation / bank)
            done = fedenclave(*words, "--out", out)
            assert done.status == 0, done.err
            signed = out
            kept = fedenclave("client", "revocations", "--dir", federation / "alpha", signed)
            assert (kept.status == 0) == (bank == BANKS[-1]), kept.err
    held = (federation / "alpha" / "revocations.signed").read_bytes()
    done = fedenclave(
        "client", "revocations", "--dir", federation / "alpha", federation / "list-1.signed"
    )
    assert done.status == 1
    assert "the folder holds another with number 2" in done.err
    # The same number for something else is no newer list; the same list again does no harm.
    again = ("client", "revocations", "--dir", federation / "alpha", federation / "list-2.signed")
    assert fedenclave(*again).status == 0
    assert (federation / "alpha" / "revocations.signed").read_bytes() == held


def test_members_sign_no_list_of_another_federation(federation: Path, fedenclave: Command) -> None:
    source = federation / "list.toml"
    source.write_text(
        'version = 1\nfederation = "others"\nserial = 1\n'
        'issued = "2026-11-25T00:00:00Z"\nexpires = "2027-11-25T00:00:00Z"\n'
    )
    out = federation / "list.signed"
    words = ("federation", "revocations", source, "--dir", federation / "alpha", "--out", out)
    done = fedenclave(*words)
    assert done.status == 1
    assert "'others', want 'banks'" in done.err
    assert not out.exists()
