"""All files of a dataset as a tar archive, streamed: for a program that reads one, or to leave.

Where a tag is wrong, the archive ends without its end mark, in an error: `tar` says that it was cut
off. What came before is as it was sealed.
"""

from __future__ import annotations

import tarfile
from typing import IO

from fedenclave.datasets.reader import SealedDataset


def write_tar(dataset: SealedDataset, into: IO[bytes]) -> None:
    """Write the archive: mode 0600, no times, no owners, since none are kept.

    Raises:
        DatasetDamaged, StorageFailed: a file cannot be read.
        OSError: `into` does not take it.
    """
    # Left by an error, it writes no end mark.
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for member in dataset.members.values():
            facts = tarfile.TarInfo(member.name)
            facts.size, facts.mode = member.size, 0o600
            with dataset.open(member.name) as stream:
                archive.addfile(facts, stream)
    into.flush()
