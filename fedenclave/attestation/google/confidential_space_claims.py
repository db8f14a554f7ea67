"""Appraise what a verified Confidential Space token claims against the policy.

Nothing here verifies a signature; confidential_space.py has done so.

A production image says `dbgstat` disabled-since-boot and has support attributes. A debug image
says enabled, lets its operator in by SSH as root, and has none of them: the policy then needs the
exceptions `debug` and `unsupported-image`.

Source: Google Cloud, "Attestation token claims" and "Confidential Space images".
"""

from __future__ import annotations

from collections.abc import Sequence

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import check_tcb_status
from fedenclave.attestation.google.confidential_space_policy import Pins, version_number
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.strict_json import JsonObject
from fedenclave.protocol.errors import MalformedMessage

SOFTWARE = "CONFIDENTIAL_SPACE"
GOOGLE_OEM_ID = 11129
"""Google's private enterprise number."""
INTEL_TDX = "GCP_INTEL_TDX"
NOT_DEBUGGED = "disabled-since-boot"
IDENTIFIERS = frozenset({"certificate", "measurement", "instance-id"})
LEVELS = frozenset({"swversion"})
EXCEPTIONS = frozenset({"debug", "unsupported-image"})
ALWAYS = frozenset(
    {
        "audience",
        "software",
        "software version",
        "oem",
        "image digest",
        "hardware",
        "secure boot",
        "debug",
        "support attributes",
        "arguments",
        "command override",
        "environment override",
        "restart policy",
        "memory monitoring",
        "project",
        "zone",
        "service accounts",
    }
)


def appraise_claims(
    checklist: Checklist, claims: JsonObject, pins: Pins, certificates: tuple[str, ...]
) -> Claims:
    """Return the claims after every comparison with the policy.

    Args:
        checklist: where the checks go.
        claims: of a token whose signature, issuer, times and binding are checked.
        pins: the policy.
        certificates: fingerprints of those that verified the token.

    Raises:
        MalformedMessage: a claim that Google always gives is missing or of another type.
    """
    _check_image(checklist, claims, pins)
    _check_machine(checklist, claims, pins)
    _check_container(checklist, claims, pins)
    _check_place(checklist, claims, pins)
    return _claims(claims, certificates)


def _check_image(checklist: Checklist, claims: JsonObject, pins: Pins) -> None:
    container = claims.table("submods").table("container")
    audience, digest = claims.text("aud"), container.text("image_digest")
    checklist.want(
        "audience",
        holds=audience in pins.audiences,
        found=audience,
        wanted=" or ".join(pins.audiences),
        trust=Trust.INSTANCE_IDENTITY,
        hint="the token was made for somebody else",
    )
    name, version = claims.text("swname"), _version(claims)
    checklist.want(
        "software",
        holds=name == SOFTWARE,
        found=name,
        wanted=SOFTWARE,
        trust=Trust.EXECUTABLES,
        hint="the machine does not run a Confidential Space image",
    )
    checklist.want(
        "software version",
        holds=version >= pins.minimum_swversion,
        found=version,
        wanted=f"at least {pins.minimum_swversion}",
        trust=Trust.EXECUTABLES,
        hint="the operator must start a newer Confidential Space image",
    )
    checklist.want(
        "image digest",
        holds=digest in pins.image_digests,
        found=digest,
        wanted=" or ".join(pins.image_digests),
        trust=Trust.EXECUTABLES,
        hint="the aggregator is a container that the federation did not approve; nothing was sent",
    )


def _version(claims: JsonObject) -> int:
    texts = claims.texts("swversion")
    number = version_number(texts[0]) if len(texts) == 1 else None
    if number is None:
        raise MalformedMessage("confidential space token has swversion that is not one version")
    return number


def _check_machine(checklist: Checklist, claims: JsonObject, pins: Pins) -> None:
    hardware, oem = claims.text("hwmodel"), claims.integer("oemid")
    checklist.want(
        "oem",
        holds=oem == GOOGLE_OEM_ID,
        found=oem,
        wanted=GOOGLE_OEM_ID,
        trust=Trust.HARDWARE,
    )
    checklist.want(
        "hardware",
        holds=hardware in pins.hardware,
        found=hardware,
        wanted=" or ".join(pins.hardware),
        trust=Trust.HARDWARE,
        hint="the machine is of another type than the policy accepts",
    )
    if hardware == INTEL_TDX:
        check_tcb_status(checklist, tdx_table(claims).text("gcp_attester_tcb_status"))
    secure_boot = claims.boolean("secboot")
    checklist.want(
        "secure boot",
        holds=secure_boot,
        found="on" if secure_boot else "off",
        wanted="on",
        trust=Trust.CONFIGURATION,
    )
    debug = claims.text("dbgstat")
    checklist.want(
        "debug",
        holds=debug == NOT_DEBUGGED,
        found=debug,
        wanted=NOT_DEBUGGED,
        trust=Trust.CONFIGURATION,
        hint="the operator can log in to a debug image as root; nothing was sent",
        exception="debug",
    )


def tdx_table(claims: JsonObject) -> JsonObject:
    """Return the claims about TDX: an object, or since 2026 a list of one.

    Raises:
        MalformedMessage: they are missing, or more than one.
    """
    if isinstance(claims.values.get("tdx"), list):
        tables = claims.tables("tdx")
        if len(tables) != 1:
            raise MalformedMessage(f"{claims.what} has {len(tables)} tables tdx, want 1")
        return tables[0]
    return claims.table("tdx")


def _check_container(checklist: Checklist, claims: JsonObject, pins: Pins) -> None:
    container = claims.table("submods").table("container")
    _among("arguments", checklist, _texts_or_none(container, "args"), pins.args, exact=True)
    _among(
        "command override",
        checklist,
        _texts_or_none(container, "cmd_override"),
        pins.cmd_override,
        exact=True,
    )
    _among("environment override", checklist, _environment(container), pins.env_override)
    _among("restart policy", checklist, [container.text("restart_policy")], pins.restart_policies)
    space = claims.table("submods").table("confidential_space")
    found = _texts_or_none(space, "support_attributes")
    checklist.want(
        "support attributes",
        holds=set(pins.support_attributes) <= set(found),
        found=", ".join(found) or "none",
        wanted=" and ".join(pins.support_attributes),
        trust=Trust.EXECUTABLES,
        hint="Google no longer supports this image, or it is a debug or experimental one",
        exception="unsupported-image",
    )
    monitored = _memory_monitored(space)
    checklist.want(
        "memory monitoring",
        holds=pins.memory_monitoring or not monitored,
        found="on" if monitored else "off",
        wanted="on or off" if pins.memory_monitoring else "off",
        trust=Trust.CONFIGURATION,
    )


def _among(
    name: str,
    checklist: Checklist,
    found: Sequence[str],
    pins: tuple[str, ...] | None,
    *,
    exact: bool = False,
) -> None:
    """Check that each of `found` is pinned or, if `exact`, that they are the pinned list."""
    if exact:
        holds = pins is None or tuple(found) == pins
    else:
        holds = pins is None or set(found) <= set(pins)
    checklist.want(
        name,
        holds=holds,
        found=list(found),
        wanted="any" if pins is None else list(pins),
        trust=Trust.CONFIGURATION,
        hint="the operator started the container in a way that the federation did not approve",
    )


def _texts_or_none(table: JsonObject, key: str) -> tuple[str, ...]:
    """Return a list of texts; absent and null are empty ones."""
    return () if table.values.get(key) is None else table.texts(key)


def _environment(container: JsonObject) -> list[str]:
    if container.values.get("env_override") is None:
        return []
    table = container.table("env_override")
    return [f"{name}={table.text(name)}" for name in sorted(table.values)]


def _memory_monitored(space: JsonObject) -> bool:
    """Return whether memory is monitored; images before 2024 could not, and do not say."""
    if "monitoring_enabled" not in space:
        return False
    return space.table("monitoring_enabled").boolean("memory")


def _check_place(checklist: Checklist, claims: JsonObject, pins: Pins) -> None:
    gce = claims.table("submods").table("gce")
    for name, found, wanted in (
        ("project", (gce.text("project_id"),), pins.projects),
        ("zone", (gce.text("zone"),), pins.zones),
        (
            "service accounts",
            _texts_or_none(claims, "google_service_accounts"),
            pins.service_accounts,
        ),
    ):
        checklist.want(
            name,
            holds=wanted is None or (bool(found) and set(found) <= set(wanted)),
            found=", ".join(found) or "none",
            wanted="any" if wanted is None else " or ".join(wanted),
            trust=Trust.INSTANCE_IDENTITY,
            hint="it runs where, or as whom, the federation did not approve",
        )


def _claims(claims: JsonObject, certificates: tuple[str, ...]) -> Claims:
    submods = claims.table("submods")
    container, gce = submods.table("container"), submods.table("gce")
    digest, instance = container.text("image_digest"), gce.text("instance_id")
    return Claims(
        claims={
            "iss": claims.text("iss"),
            "aud": claims.text("aud"),
            "iat": claims.integer("iat"),
            "exp": claims.integer("exp"),
            "eat_nonce": claims.values.get("eat_nonce", []),
            "oemid": claims.integer("oemid"),
            "hwmodel": claims.text("hwmodel"),
            "swname": claims.text("swname"),
            "swversion": claims.texts("swversion")[0],
            "oemboot": claims.boolean("secboot"),
            "dbgstat": claims.text("dbgstat"),
            "measurements": [digest],
            "image-reference": container.text("image_reference"),
            "support-attributes": list(
                _texts_or_none(submods.table("confidential_space"), "support_attributes")
            ),
            "project-id": gce.text("project_id"),
            "zone": gce.text("zone"),
            "instance-name": gce.text("instance_name"),
            "instance-id": instance,
        },
        identifiers={
            "measurement": (digest,),
            "instance-id": (instance,),
            "certificate": certificates,
        },
        levels={"swversion": _version(claims)},
    )
