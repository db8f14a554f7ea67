"""Whatever is interrupted in a folder, wherever: the dataset opens with the keys at hand, whole.

Each system call of a seal, a re-wrapping and a re-encryption is hit once before and once after it
takes effect: by an error of the disk, by one that lasts, by Ctrl-C, by SIGKILL.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from fedenclave.datasets.errors import HeadUnsettled
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import seal
from tests.datasets.faults import INTERRUPT, Calls, Fault, SteadyKeys, hooked_os
from tests.datasets.small_datasets import EXPECTED, OPERATIONS, OPTIONS, Folders, is_whole

DISK = Fault("disk", lambda: OSError(5, "Input/output error"))
DISK_GONE = Fault("disk-gone", lambda: OSError(5, "Input/output error"), lasts=True)
KILL = Fault("kill", None)


def in_a_child(work: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    os.waitpid(child, 0)


def faulty(
    operation: str, folder: Path, keys: SteadyKeys, small: Path, calls: Calls
) -> BaseException | None:
    try:
        with hooked_os(calls):
            OPERATIONS[operation](LocalStore(folder), keys, small)
    except EXPECTED as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("fault", [DISK, DISK_GONE, INTERRUPT, KILL], ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_folder_is_readable_whatever_call_fails(
    operation: str, fault: Fault, tmp_path: Path, small: Path, keys: SteadyKeys
) -> None:
    folders = Folders(tmp_path, small, keys)
    keys.newest = 2
    sealed = operation != "seal"
    whole = Calls()
    assert faulty(operation, folders.fresh(sealed=sealed), keys, small, whole) is None
    assert {"open", "fsync", "unlink"} <= set(whole.names)
    for at in range(len(whole.names)):
        for after in (False, True):
            folder = folders.fresh(sealed=sealed)
            calls = Calls(at=at, after=after, fault=fault)
            if fault is KILL:
                in_a_child(lambda f=folder, c=calls: faulty(operation, f, keys, small, c))
            else:
                faulty(operation, folder, keys, small, calls)
            where = f"{whole.names[at]} at {at}, {'after' if after else 'before'}"
            if sealed or (folder / HEAD).exists():
                assert is_whole(LocalStore(folder), keys), where
            # And nobody is locked out: it is done by calling again.
            if sealed:
                OPERATIONS[operation](LocalStore(folder), keys, small)
                assert is_whole(LocalStore(folder), keys), where
            elif not (folder / HEAD).exists():
                seal(LocalFiles(small), LocalStore(folder), keys, "node", OPTIONS)
            shutil.rmtree(folder)


@pytest.mark.parametrize("operation", ["rewrap", "reencrypt"])
def test_a_sync_that_fails_after_the_rename_keeps_both_and_says_so(
    operation: str, tmp_path: Path, small: Path, keys: SteadyKeys
) -> None:
    folders = Folders(tmp_path, small, keys)
    whole = Calls()
    faulty(operation, folders.fresh(sealed=True), keys, small, whole)
    renamed = whole.names.index("replace")
    sync = whole.names.index("fsync", renamed)
    folder = folders.fresh(sealed=True)
    before = {path.name for path in folder.iterdir()}
    error = faulty(operation, folder, keys, small, Calls(at=sync, after=False, fault=DISK))
    assert isinstance(error, HeadUnsettled)
    assert "keep the keys of both" in error.message
    assert before <= {path.name for path in folder.iterdir()}
    assert (folder / HEAD).read_bytes() != (folders.template / HEAD).read_bytes()
