"""What to ask a vendor for, and which files of the bundle come of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedenclave.vendors.download import Downloader, Response
from fedenclave.vendors.readable import Reader, check_readable

Files = Mapping[str, bytes]
"""Files by their name in the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralRequest:
    """One URL. `files` makes the bundle's files of the response; a `body` makes it a POST.

    `files` raises `DownloadFailed` for a response of another kind than was asked for.
    """

    url: str
    files: Callable[[Response], Files]
    body: bytes = b""
    content_type: str = ""


def saved_as(name: str, reader: Reader) -> Callable[[Response], Files]:
    """Return a function that makes one file, `name`, of a body that `reader` can read."""

    def files(response: Response) -> Files:
        check_readable(name, response.body, reader)
        return {name: response.body}

    return files


def fetch(
    requests: Sequence[CollateralRequest],
    downloader: Downloader,
    advance: Callable[[str], None] = lambda url: None,
) -> dict[str, bytes]:
    """Return the files of all requests; what several ask for alike is asked once.

    Args:
        requests: what to ask.
        downloader: who asks.
        advance: called with each URL before it is asked.

    Raises:
        DownloadFailed: one of them failed, or is answered with something else. Nothing of the
            others is returned either: half a snapshot would look complete.
    """
    files: dict[str, bytes] = {}
    for request in {(each.url, each.body): each for each in requests}.values():
        advance(request.url)
        answer = downloader.ask(request.url, request.body, request.content_type)
        files.update(request.files(answer))
    return files
