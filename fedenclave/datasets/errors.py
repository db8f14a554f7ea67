"""What can be wrong with a sealed dataset. Messages name dataset, file and chunk; never contents.

File names are inside the sealed part, and stand in the messages of whoever has opened it: they stay
on this node.
"""

from __future__ import annotations

from fedenclave.protocol.errors import FedEnclaveError


class DatasetRefused(FedEnclaveError):
    """A dataset cannot be sealed, opened or sealed anew. Nothing was half-written."""


class DatasetDamaged(DatasetRefused):
    """What lies there is not what was sealed: changed, cut off, or another's."""


class DatasetMissing(DatasetRefused):
    """There is no sealed dataset, or a part of it is gone."""


class DatasetExists(DatasetRefused):
    """There is a sealed dataset already where another was to be written."""


class SourceRefused(DatasetRefused):
    """What was to be sealed holds something that cannot be, or changed meanwhile."""


class DatasetBusy(DatasetRefused):
    """Another process changes the dataset, or has changed it meanwhile. Nothing was changed."""


class StorageFailed(DatasetRefused):
    """The storage cannot be read or written."""


class HeadUnsettled(StorageFailed):
    """A head may or may not have been written. What the old and the new one name is kept."""


class LineageDiffers(DatasetRefused):
    """The data, with these stages and this salt, are not what a round's log names."""
