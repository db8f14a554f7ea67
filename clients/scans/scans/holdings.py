"""A hospital's pictures: out of its sealed dataset, one by one as training asks for them.

Rules:
  * A picture is `PART/KIND/NAME.png` in the dataset: grey, 28 by 28. The folder's name is its kind.
  * It is decrypted and decoded in memory. No plaintext file is made, and none is read.
  * Anything else is refused, by its name; the name stays in this node's own log.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Subset

from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.reader import SealedDataset
from fedenclave.datasets.torch_loader import SealedFiles

SIDE = 28
KINDS = tuple(f"kind-{number}" for number in range(10))
PARTS = ("train", "validation", "test")
SUFFIX = ".png"

Picture = tuple[torch.Tensor, int]


class ScansError(Exception):
    """The dataset is not what this app trains on. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """One hospital's pictures, by part, and what stands for those that are trained on."""

    parts: dict[str, Subset[Picture]]
    lineage: Lineage


def holdings(dataset: SealedDataset) -> Holdings:
    """Return what is in an open dataset, which stays open as long as this is used.

    Raises:
        ScansError: a file's name is not `PART/KIND/NAME.png`, or a part is empty.
    """
    for name in dataset.members:
        _kind(name)
    files: SealedFiles[Picture] = SealedFiles(dataset, decode, suffixes=(SUFFIX,))
    parts = {
        part: Subset(files, [i for i, n in enumerate(files.names) if n.startswith(f"{part}/")])
        for part in PARTS
    }
    if empty := [part for part, pictures in parts.items() if not len(pictures)]:
        raise ScansError(f"the dataset holds no picture in {', '.join(empty)}", _HINT)
    code = hashlib.sha256(Path(__file__).read_bytes()).digest()
    lineage = Lineage.of(dataset.digest).then("decode-png", part="train", side=SIDE, code=code)
    return Holdings(parts=parts, lineage=lineage.then("scale", divisor=255))


_HINT = "seal a folder of PART/KIND/NAME.png: PART train, validation or test, KIND kind-0 to kind-9"


def decode(name: str, stream: io.BufferedReader) -> Picture:
    """Return a picture as float32 [1, 28, 28] from 0 to 1, and its kind's number.

    Raises:
        ScansError: it is no PNG of that size.
    """
    try:
        with Image.open(stream, formats=("PNG",)) as picture:
            # Before it is decoded: a small file can claim a picture that fills the memory.
            if picture.size != (SIDE, SIDE):
                raise ScansError(f"{name} is {picture.size} pixels, want {SIDE} by {SIDE}", _HINT)
            pixels = np.asarray(picture.convert("L"), np.float32)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ScansError(f"{name} is no PNG picture that can be read", _HINT) from error
    return torch.from_numpy(pixels / np.float32(255))[None], _kind(name)


def _kind(name: str) -> int:
    part, _, rest = name.partition("/")
    kind, _, last = rest.partition("/")
    if part not in PARTS or kind not in KINDS or "/" in last or not last.endswith(SUFFIX):
        raise ScansError(f"the dataset holds {name!r}, which is no PART/KIND/NAME{SUFFIX}", _HINT)
    return KINDS.index(kind)
