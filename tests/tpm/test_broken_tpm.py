"""Whatever a TPM answers, the enclave gets a result or one error, and flushes what it loaded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.tpm import errors
from fedenclave.enclave.tpm.connection import PAUSES, Command
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.protocol.evidence import Evidence, EvidenceParts
from tests.tpm.record import SECRET, STATE_KEY
from tests.tpm.replay import LOADING, SCENARIOS, Damage, Replay, playing

ERRORS = (TpmError, AttestationUnavailable)
EVERY_SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS)


def play(scenario: str, damage: Damage) -> tuple[Replay, Exception | None]:
    """Run a scenario; any error but the documented ones ends the test."""
    replay = Replay(scenario, damage=damage)
    with playing(replay):
        try:
            SCENARIOS[scenario]()
        except ERRORS as error:
            return replay, error
    return replay, None


def at(number: int, change: bytes) -> Damage:
    """Put `change` in the place of one response."""
    return lambda n, response: change if n == number else response


def untouched(scenario: str) -> tuple[list[int], list[bytes]]:
    """Return the codes of a scenario's commands, and the responses."""
    responses: list[bytes] = []

    def note(_: int, response: bytes) -> bytes:
        responses.append(response)
        return response

    replay, error = play(scenario, note)
    assert error is None
    assert replay.loaded == set()
    return replay.commands, responses


def resized(response: bytes) -> bytes:
    """Return `response` with the size it has in its header."""
    return response[:2] + len(response).to_bytes(4, "big") + response[6:]


def test_the_recorded_tpm_gives_what_it_gave() -> None:
    results = {}
    for scenario, run in SCENARIOS.items():
        with playing(Replay(scenario)):
            results[scenario] = run()
    assert results["unseal"] == STATE_KEY
    assert results["activate"] == SECRET
    assert isinstance(results["evidence"], Evidence)


@EVERY_SCENARIO
@pytest.mark.parametrize("honest", [True, False], ids=["header-says-so", "header-does-not"])
def test_a_response_that_ends_early_is_the_one_error(scenario: str, honest: bool) -> None:
    commands, responses = untouched(scenario)
    for number, response in enumerate(responses):
        for size in range(len(response)):
            short = resized(response[:size]) if honest and size >= 10 else response[:size]
            replay, error = play(scenario, at(number, short))
            assert error is not None, f"response {number} cut to {size} bytes"
            if honest and not (commands[number] in LOADING and size < 14) and size >= 10:
                assert replay.loaded == set()


@EVERY_SCENARIO
def test_bytes_after_a_response_are_the_one_error(scenario: str) -> None:
    _, responses = untouched(scenario)
    for number, response in enumerate(responses):
        if response[6:10] != bytes(4):
            continue  # "try again" says nothing else that could be read
        for longer in (response + b"\x00", resized(response + b"\x00")):
            assert play(scenario, at(number, longer))[1] is not None, number


@EVERY_SCENARIO
def test_a_response_with_the_other_tag_is_the_one_error(scenario: str) -> None:
    _, responses = untouched(scenario)
    for number, response in enumerate(responses):
        if response[6:10] != bytes(4):
            continue  # "try again" has the other tag already
        other = b"\x80\x01" if response[:2] == b"\x80\x02" else b"\x80\x02"
        assert play(scenario, at(number, other + response[2:]))[1] is not None, number


@EVERY_SCENARIO
@pytest.mark.parametrize("code", [0x101, 0x902, 0x921, 0x9A2, 0x18B, 0x1D5, 0xFFFFFFFF])
def test_a_refusal_at_any_point_is_the_one_error_and_leaves_nothing_loaded(
    scenario: str, code: int
) -> None:
    commands, responses = untouched(scenario)
    refusal = bytes.fromhex("80010000000a") + code.to_bytes(4, "big")
    for number in range(len(responses)):
        replay, error = play(scenario, at(number, refusal))
        assert error is not None
        if commands[number] not in LOADING:
            assert replay.loaded == set(), commands[number]


@EVERY_SCENARIO
def test_a_flipped_byte_is_a_result_or_the_one_error(scenario: str) -> None:
    _, responses = untouched(scenario)
    for number, response in enumerate(responses):
        for place in range(0, len(response), 1 if len(response) < 100 else 7):
            for bit in (0x01, 0x80):
                flipped = bytearray(response)
                flipped[place] ^= bit
                play(scenario, at(number, bytes(flipped)))


@EVERY_SCENARIO
@given(data=st.data())
def test_random_responses_are_the_one_error(scenario: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 10))
    head = data.draw(st.sampled_from([b"\x80\x01", b"\x80\x02"]))
    body = data.draw(st.binary(max_size=80))
    framed = data.draw(st.booleans())
    noise = resized(head + bytes(8) + body) if framed else body
    play(scenario, at(number, noise))


@pytest.mark.parametrize("code", [0x922, 0x908, 0x90A, 0x920])
def test_a_tpm_that_is_not_ready_is_asked_again(code: int) -> None:
    busy = bytes.fromhex("80010000000a") + code.to_bytes(4, "big")
    replay = Replay("count")
    answer, seen = replay._answer, [0]

    def reluctant(command: bytes) -> bytes:
        seen[0] += 1
        return busy if seen[0] % 3 else answer(command)

    replay._answer = reluctant  # type: ignore[method-assign]
    with playing(replay):
        assert SCENARIOS["count"]() == 2
    _, error = play("count", lambda _, __: busy)
    assert error is not None


def test_a_tpm_that_is_never_ready_is_given_up() -> None:
    busy = bytes.fromhex("80010000000a00000922")
    replay, error = play("count", lambda _, __: busy)
    assert isinstance(error, TpmError)
    assert error.code == errors.RETRY
    assert replay.count == len(PAUSES) + 1


def move(number: int) -> Damage:
    """Change a register in the n-th response, which is one to PCR_READ."""
    return lambda n, response: response[:-1] + b"\xff" if n == number else response


def test_registers_that_move_before_the_quote_are_read_again() -> None:
    commands, _ = untouched("evidence")
    replay = Replay("evidence", damage=move(commands.index(Command.PCR_READ)))
    with playing(replay):
        evidence = SCENARIOS["evidence"]()
    assert isinstance(evidence, Evidence)
    assert replay.commands.count(Command.QUOTE) == 2
    values = EvidenceParts.from_bytes(evidence.document).by_name()["pcrs"]
    assert b"\xff" not in values[7 * 32 : 8 * 32]


def test_registers_that_never_rest_are_given_up() -> None:
    def unrest(_: int, response: bytes) -> bytes:
        # Only answers to PCR_READ have this length.
        return response[:-1] + b"\xff" if len(response) in (300, 164) else response

    replay, error = play("evidence", unrest)
    assert isinstance(error, AttestationUnavailable)
    assert "again and again" in error.why
    assert replay.loaded == set()


def test_registers_that_move_before_the_tpm_judges_the_policy_are_said_to_have_moved() -> None:
    commands, _ = untouched("unseal")
    failed = bytes.fromhex("80010000000a0000099d")
    replay, error = play("unseal", at(commands.index(Command.UNSEAL), failed))
    assert "other register values" in str(error)
    assert replay.loaded == set()


def test_a_key_of_another_length_is_refused() -> None:
    commands, _ = untouched("unseal")
    body = bytes.fromhex("0000000300012a" + "0000010000")
    short = resized(bytes.fromhex("80020000000000000000") + body)
    _, error = play("unseal", at(commands.index(Command.UNSEAL), short))
    assert "unseals 1 bytes, want 32" in str(error)


def test_a_certificate_of_nothing_is_refused() -> None:
    commands, _ = untouched("evidence")
    body = bytes.fromhex("000000020000" + 2 * "0000010000")
    empty = resized(bytes.fromhex("80020000000000000000") + body)
    _, error = play("evidence", at(commands.index(Command.NV_CERTIFY), empty))
    assert isinstance(error, AttestationUnavailable)
    assert "certifies nothing" in error.why


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (0x9A2, errors.BAD_AUTH),
        (0x98E, errors.AUTH_FAIL),
        (0x18B, errors.HANDLE),
        (0x1C4, 0x084),
        (0x99D, errors.POLICY_FAIL),
        (0x14C, 0x14C),
        (0x922, errors.RETRY),
        (0x101, errors.FAILURE),
    ],
)
def test_a_code_is_known_whatever_it_speaks_of(code: int, number: int) -> None:
    assert errors.number(code) == number
    assert errors.refused("QUOTE", code).code == number
    assert f"{code:#x}" in errors.refused("QUOTE", code).message
