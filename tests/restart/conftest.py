"""The worlds of the attacks, for what happens without any."""

from tests.attacks.conftest import new_world, world

__all__ = ["new_world", "world"]
