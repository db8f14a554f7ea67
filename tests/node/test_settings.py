"""Settings arrive in flwr as they were given, or are refused before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.node.settings import Setting, write_settings

config = pytest.importorskip("flwr.common.config")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_-]+", fullmatch=True),
        st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False)
        | st.text(max_size=40),
        max_size=4,
    )
)
def test_flwr_reads_back_what_was_written(settings: dict[str, Setting]) -> None:
    try:
        line = write_settings(settings)
    except ValueError:
        return
    assert config.parse_config_args([line]) == settings


@pytest.mark.parametrize(
    "path", ["/tmp/with space/k=1", "/tmp/o'clock/key", 'C:\\keys\\"a"', "/tmp/x.toml", ""]
)
def test_paths_that_can_be_said_arrive_unchanged(path: str) -> None:
    assert config.parse_config_args([write_settings({"key": path})]) == {"key": path}


@pytest.mark.parametrize("value", ["a'b\"c", "it's \\ here", "two\nlines", "\x1b"])
def test_string_that_flwr_would_change_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cannot read setting key"):
        write_settings({"key": value})


@pytest.mark.parametrize("key", ["", "a.b", "a b", "a=b"])
def test_key_that_flwr_would_change_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="setting is named"):
        write_settings({key: 1})
