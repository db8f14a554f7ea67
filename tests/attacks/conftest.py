"""Worlds that end with their test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.world import World

NewWorld = Callable[..., World]


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[NewWorld]:
    """Make worlds, each in a folder of its own; ends their enclaves."""
    worlds: list[World] = []
    numbers = count()

    def make(*arguments: Any, **options: Any) -> World:
        folder = tmp_path / f"host-{next(numbers)}"
        folder.mkdir()
        worlds.append(World(folder, *arguments, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(new_world: NewWorld) -> World:
    """Three clients of three organisations; releases need two of them."""
    return new_world()
