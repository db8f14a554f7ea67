"""The rules file: one thing wrong, one ConfigurationError; never a default, never another error."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol import aggregation as rules
from fedenclave.protocol import manifest as manifest_module
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Client, Manifest, Member, Rules, approving_members
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.signing import PublicKey, key_to_text, public_key, sign
from fedenclave.protocol.statements import Approval, Suite

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in range(6)]
RAW = [public_key(key) for key in KEYS]
RULES = Rules(
    weighting="examples",
    weighted_by="num-examples",
    weight_cap=1000,
    max_abs=10.0,
    max_norm=100.0,
    over_norm="reject",
    min_cohort=2,
)
DRAFT = ManifestDraft(
    name="fed",
    threshold=2,
    development=True,
    members=[Member(name="m1", key=RAW[0]), Member(name="m2", key=RAW[1])],
    clients=[
        Client(name="c1", member="m1", key=RAW[2]),
        Client(name="c2", member="m2", key=RAW[3]),
        Client(name="c3", member="m2", key=RAW[4]),
    ],
    freshness_seconds=3600,
    insecure_measurements=[Digest(b"m" * 32)],
    suite=Suite.HYBRID,
    schema=Digest(b"s" * 32),
    initial_model=Digest(b"i" * 32),
    rules=RULES,
)
SOURCE = write_manifest(DRAFT).decode()


def refused(source: str, match: str = "manifest") -> None:
    with pytest.raises(ConfigurationError, match=match):
        Manifest.from_bytes(source.encode())


def test_what_is_written_is_what_is_read() -> None:
    manifest = Manifest.from_bytes(SOURCE.encode())
    assert (manifest.name, manifest.threshold, manifest.development) == ("fed", 2, True)
    assert manifest.members == tuple(DRAFT.members)
    assert manifest.clients == tuple(DRAFT.clients)
    assert manifest.rules == RULES
    assert manifest.attestation.insecure == (b"m" * 32,)
    assert manifest.attestation.freshness_seconds == 3600
    assert manifest.attestation.accepted == ("insecure",)
    both = replace(manifest.attestation, formats={"tpm": {}, "sev-snp": {}})
    assert both.accepted == ("insecure", "tpm", "sev-snp")
    assert (manifest.suite, manifest.schema) == (Suite.HYBRID, b"s" * 32)
    assert manifest.initial_model == b"i" * 32
    assert manifest.organisations(["c2", "c3"]) == {"m2"}


def test_every_byte_counts_in_the_digest() -> None:
    manifest = Manifest.from_bytes(SOURCE.encode())
    assert Manifest.from_bytes((SOURCE + "# more\n").encode()).digest != manifest.digest
    assert Manifest.from_bytes(SOURCE.encode()).digest == manifest.digest


LINES = [line for line in SOURCE.splitlines() if "=" in line and not line.startswith((" ", "#"))]


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_a_missing_line_is_refused(line: str) -> None:
    refused(SOURCE.replace(line + "\n", "", 1))


@pytest.mark.parametrize("line", [line for line in SOURCE.splitlines() if line.startswith("[")])
def test_an_unknown_key_in_any_table_is_refused(line: str) -> None:
    refused(SOURCE.replace(line + "\n", line + '\nmin_cohorts = "2"\n', 1), "unknown key")


@pytest.mark.parametrize("more", ["min_cohort = 2\n", "[witnesses]\n"])
def test_an_unknown_key_or_table_at_the_top_is_refused(more: str) -> None:
    refused(SOURCE + more if more.startswith("[") else more + SOURCE, "unknown keys")


def test_there_are_never_more_clients_than_the_sum_is_exact_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert manifest_module.MAX_CLIENTS == 2**13
    monkeypatch.setattr(manifest_module, "MAX_CLIENTS", 2)
    refused(SOURCE, "has 3 clients, want at most 2")


@pytest.mark.parametrize("line", sorted({line.split("=")[0] + "=" for line in LINES}))
@pytest.mark.parametrize("wrong", ['"odd"', "-1", "[]", "true", "nan", "1979-05-27", "{ a = 1 }"])
def test_a_wrong_type_or_value_is_refused_or_is_a_value_of_that_key(line: str, wrong: str) -> None:
    changed = "\n".join(
        line + " " + wrong if found.startswith(line) else found for found in SOURCE.splitlines()
    )
    allowed = {("weighted_by =", '"odd"'), ("development =", "true"), ("metrics =", "[]")}
    if (line, wrong) in allowed:
        assert Manifest.from_bytes(changed.encode())
    else:
        refused(changed)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "version is 2"),
        ("threshold = 2", "threshold = 3", "threshold is 3"),
        ("threshold = 2", "threshold = 0", "threshold is 0"),
        ("min_cohort = 2", "min_cohort = 1", "min_cohort is 1"),
        ("min_cohort = 2", "min_cohort = 3", "min_cohort is 3"),
        ("min_cohort = 2", "min_cohort = 99999", "min_cohort is 99999"),
        ("max_abs = 10.0", "max_abs = 0.0", "max_abs"),
        ("max_abs = 10.0", "max_abs = inf", "max_abs"),
        ("max_abs = 10.0", "max_abs = 1e13", "max_abs"),
        ("max_abs = 10.0", "max_abs = 1e-30", "max_abs"),  # its squares vanish in float32
        ("max_abs = 10.0", "max_abs = 1" + "0" * 400, "1329 bits"),
        ("max_abs = 10.0", "max_abs.a.a = 1", "max_abs is dict"),
        ("max_norm = 100.0", "max_norm = 1e-30", "max_norm"),
        ("weight_cap = 1000", "weight_cap = 0", "weight_cap is 0"),
        ("weight_cap = 1000", "weight_cap = 1099511627777", "weight_cap"),
        ("weight_cap = 1000", "weight_cap = 0x" + "f" * 5000, "20000 bits"),
        ("weight_cap = 1000", "weight_cap = " + "9" * 5000, "not valid toml"),
        ("freshness_seconds = 3600", "freshness_seconds = 0", "freshness"),
        ("freshness_seconds = 3600", "freshness_seconds = 999999999", "freshness"),
        ('over_norm = "reject"', 'over_norm = "ignore"', "over_norm is 'ignore'"),
        ('weighting = "examples"', 'weighting = "none"', "weighting"),
        ('rule = "mean"', 'rule = "sum"', "rule"),
        ('suite = "MLKEM768-X25519"', 'suite = "P-256"', "suite"),
        ('differential_privacy = "off"', 'differential_privacy = "on"', "differential"),
        ('what = "model-parameters"', 'what = "metrics"', "what"),
        ('name = "fed"', 'name = "Fed"', "federation is 'Fed'"),
        ('name = "m2"', 'name = "m1"', "twice"),
        ('name = "c2"', 'name = "c1"', "twice"),
        ('member = "m1"', 'member = "m9"', "no member"),
        (key_to_text(RAW[3]), key_to_text(RAW[2]), "one key"),
        (key_to_text(RAW[3]), key_to_text(RAW[0]), "one key"),
        (key_to_text(RAW[3]), "ed25519:AAAA", "public key"),
        ("sha256:" + "73" * 32, "sha256:73", "digest"),
        ('  "sha256:' + "6d" * 32 + '",\n', "", "pins no measurement"),
        ('  "sha256:' + "6d" * 32 + '",\n', "  1,\n", "list of texts"),
        ("[attestation.insecure]", "[attestation.sgx]", "collateral_max_age_seconds"),
        ("[attestation.insecure]", "[attestation.sev]", "pins no measurement of any format"),
    ],
)
def test_one_thing_wrong_is_one_configuration_error(old: str, new: str, message: str) -> None:
    assert SOURCE.count(old) >= 1
    refused(SOURCE.replace(old, new, 1), message)


@pytest.mark.parametrize(
    "source", ["", "=", "a = " + "[" * 5000, "\ud800".encode("utf-8", "surrogatepass"), b"\xff"]
)
def test_what_is_no_toml_is_refused(source: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="manifest"):
        Manifest.from_bytes(source.encode() if isinstance(source, str) else source)


def test_no_manifest_is_read_above_its_limits() -> None:
    refused(SOURCE + "#" * (4 << 20), "want at most")
    with pytest.raises(ConfigurationError, match="no table"):
        write_manifest(replace(DRAFT, clients=[]))


@given(st.integers(0, len(SOURCE) - 1), st.binary(max_size=3))
def test_any_damage_is_a_manifest_or_a_configuration_error(at: int, new: bytes) -> None:
    source = SOURCE.encode()
    try:
        changed = Manifest.from_bytes(source[:at] + new + source[at + 1 :])
    except ConfigurationError:
        return
    assert (changed.digest == Manifest.from_bytes(source).digest) == (changed.source == source)


@given(st.text(alphabet="a=[]{}\"'\\\n.0x_e+-:#T \u0661", max_size=60))
def test_arbitrary_text_is_a_configuration_error(text: str) -> None:
    refused(text)


def approval(of: Callable[[Approval], Approval] = lambda a: a, signer: int = 0) -> bytes:
    manifest = Manifest.from_bytes(SOURCE.encode())
    plain = Approval(version=1, federation="fed", manifest=manifest.digest, member="m1")
    return sign(of(plain), KEYS[signer])


def test_only_a_members_own_approval_of_exactly_this_file_counts() -> None:
    manifest = Manifest.from_bytes(SOURCE.encode())
    worthless = [
        approval(signer=1),  # another member signs in the first one's name
        approval(signer=2),  # a client does
        approval(lambda a: replace(a, member="m9")),
        approval(lambda a: replace(a, manifest=Digest(bytes(32)))),
        approval(lambda a: replace(a, federation="other")),
        b"",
        b"\xa0",
    ]
    assert approving_members(manifest, worthless) == set()
    assert approving_members(manifest, [approval(), *worthless, approval()]) == {"m1"}


def test_text_that_brings_members_of_its_own_makes_no_manifest() -> None:
    policy = (
        "[attestation]\nfreshness_seconds = 60\n[attestation.insecure]\n"
        f'measurements = ["sha256:{"00" * 32}"]\n'
    )
    assert Manifest.from_bytes(write_manifest(replace(DRAFT, attestation=policy))).name == "fed"
    sybil = f'[[members]]\nname = "m9"\nkey = "{key_to_text(RAW[5])}"\n'
    with pytest.raises(ConfigurationError, match="other members"):
        write_manifest(replace(DRAFT, attestation=policy + sybil))
    hidden = policy + "# x\u2028" + sybil.replace("\n", "\u2028")
    assert len(Manifest.from_bytes(write_manifest(replace(DRAFT, attestation=hidden))).members) == 2


EIGHT = {f"c{k}": f"m{k}" for k in range(8)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": rules.MultiKrum(byzantine=1, selected=2)}, "averages 2 updates, want at least 3"),
        ({"rule": rules.MultiKrum(byzantine=2, selected=3)}, "averages 3 updates, want at least 4"),
        (
            {"rule": rules.MultiKrum(byzantine=1, selected=9)},
            "needs 9 clients",
        ),
        ({"rule": rules.Krum(byzantine=3)}, "needs 9 clients"),
        ({"rule": rules.Bulyan(byzantine=2)}, "needs 11 clients"),
        (
            {"rule": rules.QFedAvg(q=1.0, client_learning_rate=0.1, loss="l")},
            "weighting is examples, and q-fed-avg weighs by loss",
        ),
        ({"metrics": ("loss", "loss")}, "names one twice"),
        ({"metrics": tuple(f"m{k}" for k in range(65))}, "or more than 64"),
        ({"metrics": ("a b",)}, "metric is named 'a b'"),
        ({"metrics": ("a\nb",)}, "not valid toml"),
        ({"rule": rules.OwnRule(name="x", parameters={"a = 1\nb": 2.0})}, "other members, clients"),
        ({"rule": rules.OwnRule(name="x", parameters={"A": 2.0})}, "name is 'A'"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        manifest_of(**changes)


@pytest.mark.parametrize("rule", [rules.Krum(byzantine=0), rules.OwnRule(name="x")])
def test_a_rule_that_compares_pairs_takes_no_more_than_1024_clients(rule: rules.Rule) -> None:
    clients = {f"c{k}": f"m{k % 3}" for k in range(1025)}
    with pytest.raises(ConfigurationError, match="has 1025 clients, want at most 1024"):
        manifest_of(clients, rule=rule)
    assert manifest_of(clients, rule=rules.Median()).rules.rule == rules.Median()


def test_krum_is_refused_where_the_members_have_not_said_what_it_releases() -> None:
    source = manifest_of(rule=rules.Krum(byzantine=1)).source
    changed = source.replace(b"releases_one_update = true", b"releases_one_update = false")
    assert changed != source
    with pytest.raises(ConfigurationError, match="krum releases one client's own update"):
        Manifest.from_bytes(changed)


def test_reported_metrics_are_the_released_ones_and_the_loss_sorted() -> None:
    rule = rules.QFedAvg(q=1.0, client_learning_rate=0.1, loss="loss")
    made = manifest_of(rule=rule, weighting="uniform", metrics=("z", "accuracy"))
    assert made.rules.reported == ("accuracy", "loss", "z")
    assert manifest_of(metrics=("loss",)).rules.reported == ("loss",)


def manifest_of(clients: dict[str, str] = EIGHT, **changes: object) -> Manifest:
    """Return a manifest of these clients and rules, written and read again."""
    digest = Digest(bytes(32))
    numbers = iter(range(10**6))

    def key() -> PublicKey:
        return PublicKey(next(numbers).to_bytes(32, "big"))

    members = [Member(name=name, key=key()) for name in sorted(set(clients.values()))]
    return Manifest.from_bytes(
        write_manifest(
            ManifestDraft(
                name="f",
                threshold=1,
                development=True,
                members=members,
                clients=[Client(name=n, member=m, key=key()) for n, m in clients.items()],
                freshness_seconds=60,
                insecure_measurements=[digest],
                suite=Suite.X25519,
                schema=digest,
                initial_model=digest,
                rules=replace(RULES, **changes),
            )
        )
    )
