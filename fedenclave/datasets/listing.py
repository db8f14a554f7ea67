"""What can be said of sealed datasets without any key: nothing of it is secret, nothing verified.

A head is read as it lies there. That a dataset is what was sealed, `verify` says, with the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fedenclave.datasets.clean import leftovers
from fedenclave.datasets.errors import DatasetRefused
from fedenclave.datasets.head import Head
from fedenclave.datasets.layout import HEAD, body_name, index_name
from fedenclave.datasets.reader import unverified_head
from fedenclave.datasets.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A dataset as anybody sees it.

    Attributes:
        place: where it lies.
        unverified_head: its head, where that can be read.
        problem: what is missing, too short, unfinished or unreadable; nothing where it looks whole.
        leftovers: objects that no head names: of an interrupted seal or rotation.
    """

    place: str
    unverified_head: Head | None
    problem: str
    leftovers: tuple[str, ...]


def listed(stores: Iterable[Store]) -> list[Listed]:
    """Return what is in those of `stores` that hold a dataset, or the rest of one."""
    found = [_look(store) for store in stores]
    return [item for item in found if item is not None]


def _look(store: Store) -> Listed | None:
    head, problem = None, ""
    try:
        if HEAD in store.names():
            head = unverified_head(store).head
            problem = _size_problem(store, head)
        else:
            problem = "unfinished: there is no head. a seal was interrupted, and can be deleted"
        left = leftovers(store, head)
    except DatasetRefused as error:
        return Listed(place=store.place, unverified_head=head, problem=error.message, leftovers=())
    if head is None and not left:
        return None
    return Listed(place=store.place, unverified_head=head, problem=problem, leftovers=tuple(left))


def _size_problem(store: Store, head: Head) -> str:
    for part, name, want in (
        ("index", index_name(head.dataset), head.index_size),
        ("body", body_name(head.dataset), head.body_size),
    ):
        reader = store.reader(name)
        size = reader.size
        reader.close()
        if size != want:
            return f"the {part} has {size} bytes, want {want}"
    return ""
