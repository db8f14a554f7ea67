"""T2: the operator runs other code than the members approved, or the same under other rules."""

from __future__ import annotations

import importlib.util
import py_compile
from dataclasses import replace
from functools import partial
from pathlib import Path

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.changed_code import change, copy_of_the_enclave
from fedenclave.attack_suite.enclave_socket import amend_on
from fedenclave.attack_suite.world import World, payload_of
from fedenclave.client.session import ClientSession
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import Reason, Refusal

_ADMISSION = "enclave/admission.py"
# What an operator would like not to be looked at: who claims no examples counts all the same.
_CHECK = "    if num_examples < 1:\n"
_NO_CHECK = "    if num_examples < 0:\n"


def _copy(world: World) -> Path:
    return copy_of_the_enclave(world.folder_for("code"), world.setting.code)


def _run(world: World, code: Path) -> None:
    """Put an enclave that runs `code` in the place of the approved one, and open a round."""
    world.use(world.another_enclave(code=code))
    world.open()


@attack("T02-changed-line", "run the enclave with one character changed")
def changed_line(world: World, witness: Witness) -> None:
    """Take out one check, and measure what is left as the enclave's own code does."""
    honest, coordinator = world.aggregator, world.coordinator
    code = _copy(world)
    change(code, _ADMISSION, _CHECK, _NO_CHECK)
    _run(world, code)
    for name in world.sessions:
        witness.client_refuses(
            f"offer {name} a round of the changed enclave",
            partial(world.accept, name),
            saying="did not approve",
        )
    world.aggregator, world.coordinator = honest, coordinator
    witness.goes_on(world)


@attack("T02-planted-library", "put a library beside the code that would be loaded before it")
def planted_library(world: World, witness: Witness) -> None:
    """Python loads `x.so` before `x.py`: no source file has to be touched."""
    code = _copy(world)
    (code / "fedenclave" / "protocol" / "unused.abi3.so").write_bytes(b"\x7fELF")
    _run(world, code)
    witness.client_refuses(
        "offer a a round of the enclave beside whose code a library lies",
        lambda: world.accept("a"),
        saying="did not approve",
    )


@attack("T02-planted-cache", "plant a compiled file that differs from its measured source")
def planted_cache(world: World, witness: Witness) -> None:
    """The sources measure right; Python would run the cache in their place, if it were let."""
    code = _copy(world)
    changed = copy_of_the_enclave(world.folder_for("changed-code"), world.setting.code)
    change(changed, _ADMISSION, _CHECK, _NO_CHECK)
    py_compile.compile(
        str(changed / "fedenclave" / _ADMISSION),
        cfile=importlib.util.cache_from_source(str(code / "fedenclave" / _ADMISSION)),
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    _run(world, code)
    accepted = world.accept("a")
    witness.rejected(
        f"use the hole of the planted cache in round {accepted.announcement.round}",
        lambda: world.pass_on(world.forge("c", payload_of(1), num_examples=0)),
        Reason.BAD_NUM_EXAMPLES,
    )


@attack("T02-changed-manifest", "change a rule of the manifest, and keep the members' approvals")
def changed_manifest(world: World, witness: Witness) -> None:
    """Also: approvals of too few members, one of them twice."""
    source = world.manifest.source
    old = f"weight_cap = {world.manifest.rules.weight_cap}".encode()
    if source.count(old) != 1:
        raise ValueError("the manifest does not say weight_cap once")
    raised = source.replace(old, b"weight_cap = 1099511627776")
    twice = [*world.approvals[:-1], world.approvals[0]]
    for tried, given in (
        ("a larger weight cap", {"manifest": raised}),
        ("one approval twice, for the one that is missing", {"approvals": twice}),
    ):
        witness.refused(
            f"start an enclave with {tried}",
            partial(world.another_enclave, **given),
            Refusal.NOT_APPROVED,
        )
    witness.goes_on(world)


@attack("T02-insecure-not-named", "offer development evidence to members who did not name it")
def insecure_not_named(world: World, witness: Witness) -> None:
    """On a TEE this is an operator who runs the enclave outside of it."""
    silent = replace(world.manifest.attestation, insecure=())
    strict = ClientSession(
        manifest=replace(world.manifest, attestation=silent),
        approvals=world.approvals,
        name="a",
        key=world.keys["a"],
        store=world.stores["a"],
    )
    world.sessions["a"] = strict
    world.open()
    witness.client_refuses(
        "offer a round with insecure evidence",
        lambda: world.accept("a"),
        saying="format is insecure",
    )


@attack("T02-amended-manifest", "have the enclave take up rules that its members have not approved")
def amended_manifest(world: World, witness: Witness) -> None:
    """A manifest may take another's place between two rounds: by its members' word, not by ours."""
    world.round_of("abc")
    source = world.manifest.source
    line = b"development = true"
    follows = line + f'  # as it was\ncontinues = "{to_text(world.manifest.digest)}"'.encode()
    for tried, manifest, by in (
        ("with the approvals of the old one", source.replace(line, follows), Refusal.NOT_APPROVED),
        ("that takes no other's place", source + b"# changed\n", Refusal.NOT_APPROVED),
        ("that is the old one again", source, Refusal.MANIFEST),
    ):
        witness.refused(
            f"amend to a manifest {tried}",
            partial(amend_on, world.aggregator, manifest, world.approvals),
            by,
        )
    witness.goes_on(world)


ATTACKS = (
    *(changed_line, planted_library, planted_cache, changed_manifest, insecure_not_named),
    amended_manifest,
)
