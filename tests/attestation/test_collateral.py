"""A bundle on disk: only what belongs there is read, and never more than its limits.

Which version of a file counts is in test_snapshot_names.py, told with each vendor's own collateral.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation import collateral
from fedenclave.attestation.collateral import (
    MAX_DEPTH,
    CollateralFile,
    Dated,
    choose_signed,
    distinct,
    read_bundle,
)
from fedenclave.protocol.errors import ConfigurationError

SNAPSHOT = "2026-11-25T10-00-00Z"
FETCHED = 1795600800


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return the folder of a bundle with one snapshot, which is empty."""
    folder = tmp_path / "collateral"
    (folder / SNAPSHOT).mkdir(parents=True)
    return folder


def refusal(bundle: Path) -> str:
    """Return why the bundle is refused."""
    with pytest.raises(ConfigurationError) as refused:
        read_bundle(bundle)
    return refused.value.message


def test_a_bundle_is_read_with_the_times_of_its_snapshots(bundle: Path) -> None:
    for snapshot, data in ((SNAPSHOT, b"new"), ("2026-11-24T10-00-00Z", b"old")):
        path = bundle / snapshot / "intel" / "tdx" / "tcb-info" / "b0c06f000000.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    (bundle / "2025-01-01T00-00-00Z").mkdir()
    held = read_bundle(bundle)
    assert held.names == ("intel/tdx/tcb-info/b0c06f000000.json",)
    assert [(file.data, file.fetched) for file in held.versions(held.names[0])] == [
        (b"new", FETCHED),
        (b"old", FETCHED - 24 * 3600),
    ]


# --- what does not belong there ---


def test_a_snapshot_that_is_a_link_leads_nowhere(bundle: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("s")
    (bundle / SNAPSHOT).rmdir()
    (bundle / SNAPSHOT).symlink_to(elsewhere)
    assert "a file or a link, want a folder" in refusal(bundle)


def test_a_snapshot_that_is_a_file_is_not_taken_for_an_empty_one(bundle: Path) -> None:
    (bundle / SNAPSHOT).rmdir()
    (bundle / SNAPSHOT).write_text("x")
    assert "a file or a link, want a folder" in refusal(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "2026-1-5T1-2-3Z",
        "2026-11-25T10-00-00",
        "2026-11-25T10-00-00Z.old",
        " 2026-11-25T10-00-00Z",
        "2026-02-30T00-00-00Z",
        # A digit two of another script.
        "\u0662026-11-25T10-00-00Z",
        "0001-01-01T00-00-00Z",
        "real",
        ".DS_Store",
        "\x1b[2J",
    ],
)
def test_a_snapshot_is_named_by_one_writing_of_its_time_only(bundle: Path, name: str) -> None:
    (bundle / name).mkdir()
    (bundle / name / "x").write_text("x")
    assert "want folders named by the time" in refusal(bundle)


@pytest.mark.parametrize(
    "name",
    ["a\x1b[2J", "[link=x]", "a b", "a\nb", "\u202e", "a\\b", "a:b", "%41", "\udcff"],
)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_name_that_could_deceive_who_reads_it_is_refused(
    bundle: Path, name: str, kind: str
) -> None:
    place = bundle / SNAPSHOT / name
    if kind == "folder":
        place.mkdir()
    else:
        place.write_text("x")
    message = refusal(bundle)
    assert "want names of A-Z, a-z, 0-9" in message
    assert message.isprintable()


def test_links_and_pipes_are_refused_and_not_opened(bundle: Path) -> None:
    for make in (lambda path: path.symlink_to("/etc/passwd"), os.mkfifo):
        path = bundle / SNAPSHOT / "x"
        make(path)
        # To open a pipe would wait for ever.
        assert f"snapshot {SNAPSHOT} holds 'x', which is no regular file" in refusal(bundle)
        path.unlink()


def test_what_is_no_folder_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    for name in ("pipe", "file", "nothing"):
        assert "cannot read collateral bundle" in refusal(tmp_path / name)


# --- too much ---


def test_a_bundle_of_holes_is_refused_before_it_fills_the_memory(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collateral, "MAX_BUNDLE", 1 << 20)
    for number in range(64):
        with (bundle / SNAPSHOT / f"{number:02}").open("wb") as hole:
            hole.truncate(1 << 19)
    tracemalloc.start()
    try:
        assert "larger than 1 MiB" in refusal(bundle)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_large_is_refused(bundle: Path) -> None:
    with (bundle / SNAPSHOT / "x").open("wb") as hole:
        hole.truncate(collateral.MAX_FILE)
    assert read_bundle(bundle).names == ("x",)
    with (bundle / SNAPSHOT / "x").open("wb") as hole:
        hole.truncate(collateral.MAX_FILE + 1)
    assert refusal(bundle) == "collateral file x is larger than 4 MiB"


def test_a_file_that_grows_while_it_is_read_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle / SNAPSHOT / "x"
    path.write_bytes(b"12")
    walk = collateral._walk

    def growing(folder: Path) -> Iterator[tuple[os.DirEntry[str], str, int]]:
        for entry, name, fetched in walk(folder):
            entry.stat(follow_symlinks=False)
            path.write_bytes(b"123")
            yield entry, name, fetched

    monkeypatch.setattr(collateral, "_walk", growing)
    assert "changed while it was read" in refusal(bundle)


def test_folders_in_folders_end_the_reading_and_not_the_stack(bundle: Path) -> None:
    path = bundle / SNAPSHOT
    for _ in range(MAX_DEPTH - 1):
        path = path / "x"
        path.mkdir()
    (path / "file").write_text("x")
    assert len(read_bundle(bundle).names) == 1
    (path / "x").mkdir()
    assert f"want at most {MAX_DEPTH} folders deep" in refusal(bundle)


@pytest.mark.parametrize("kind", ["files", "folders", "snapshots"])
def test_more_files_and_folders_than_can_be_held_are_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(collateral, "MAX_ENTRIES", 10)
    assert not read_bundle(bundle).names
    for number in range(10):
        if kind == "files":
            (bundle / SNAPSHOT / str(number)).write_text("")
        elif kind == "folders":
            (bundle / SNAPSHOT / str(number)).mkdir()
        else:
            (bundle / f"2026-11-24T10-00-{number:02}Z").mkdir()
    assert "more than 10 files and folders" in refusal(bundle)


# --- which version counts ---


def dated(issued: int, until: int | None, fetched: int = 0, rank: int = 0) -> Dated[str]:
    file = CollateralFile(name="x", data=b"", fetched=fetched)
    return Dated(file=file, content="", issued=issued, next_update=until, rank=rank)


@given(st.permutations(range(5)))
def test_the_names_of_snapshots_decide_nothing_about_what_is_signed(order: list[int]) -> None:
    windows = [(0, 100), (10, 20), (30, 200), (40, None), (60, 90)]
    versions = [dated(*windows[n], fetched=place) for place, n in enumerate(order)]
    for now, wanted in ((5, 0), (15, 10), (25, 10), (35, 30), (50, 40), (70, 60), (95, 60)):
        assert choose_signed(versions, now).issued == wanted


def test_an_expired_list_is_not_passed_over_for_an_older_one_that_is_good_for_longer() -> None:
    older, newer = dated(5, 35), dated(10, 15)
    assert choose_signed([older, newer], 20) is newer


def test_of_versions_of_one_second_the_higher_number_counts() -> None:
    versions = [dated(5, 10, rank=rank) for rank in (17, 18, 16)]
    assert choose_signed(versions, 7).rank == 18


def test_where_none_is_in_force_the_latest_tells_how_old_it_is() -> None:
    versions = [dated(5, 10), dated(20, 30), dated(50, 60)]
    assert choose_signed(versions, 40).issued == 20
    assert choose_signed(versions, 2).issued == 50


def test_the_same_content_is_looked_at_once_as_of_its_latest_fetch() -> None:
    files = [
        CollateralFile(name="x", data=data, fetched=fetched)
        for data, fetched in ((b"a", 3), (b"b", 2), (b"a", 1))
    ]
    assert [(file.data, file.fetched) for file in distinct(files)] == [(b"a", 3), (b"b", 2)]
