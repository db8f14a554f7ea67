"""The way out: the HTTP proxy through which a SuperNode reaches its SuperLink.

Rules:
  * A proxy in node.toml wins over the environment's; without one the environment's counts
    (`https_proxy`, else `all_proxy`, and `no_proxy`), as for every other program of its user; but
    not for a SuperLink on this machine.
  * Only the SuperNode is told of it. It opens no connection but to its SuperLink. Launcher and apps
    speak to it on this machine alone, and never by way of a proxy.
  * The proxy sees the SuperLink's name and port, and how much is sent when: TLS goes through it
    from end to end (CONNECT), with the certificate that node.toml names.
  * A password in the proxy's address is never shown.

Source: httpx 0.28 (what flwr 1.41 connects with), httpx/_utils.py, get_environment_proxies.
"""

from __future__ import annotations

import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedenclave.protocol.errors import ConfigurationError

_CONNECT_S = 3.0
_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy; `where` says who named it. `url` can hold a password, and is shown by nobody."""

    url: str = field(repr=False)
    host: str
    port: int
    has_password: bool
    where: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.host}:{self.port} ({self.where})"


def read_proxy(text: str, where: str) -> Proxy:
    """Read a proxy's address.

    Args:
        text: `http://HOST:PORT`, also with `USER:PASSWORD@`, or `https://...`.
        where: who names it, for messages.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urllib.parse.SplitResult("", "", "", "", ""), None, None
    usable = text.isascii() and text.isprintable() and " " not in text
    rest = parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in _SCHEMES or not host or not usable or rest:
        # Nothing of it is shown: whatever is wrong with it, a password can be in it.
        raise ConfigurationError(
            f"the proxy in {where} is no proxy's address, want http://HOST:PORT",
            hint="also https://, and with USER:PASSWORD@; socks proxies are not supported",
        )
    return Proxy(
        url=text,
        host=host,
        port=port or _PORTS[parts.scheme],
        has_password=parts.password is not None,
        where=where,
    )


def proxy_in_force(named: Proxy | None, address: str, caller: Mapping[str, str]) -> Proxy | None:
    """Return the proxy through which a SuperNode goes out; None where it goes by itself.

    Args:
        named: node.toml's.
        address: the SuperLink's, host:port.
        caller: the environment that the node is started in.

    Raises:
        ConfigurationError: the environment names something else than a proxy.
    """
    if named is not None:
        return named
    host = address.rpartition(":")[0].strip("[]").lower()
    if _goes_by_itself(host, _variable(caller, "no_proxy")):
        return None
    for name in ("https_proxy", "all_proxy"):
        if text := _variable(caller, name):
            return read_proxy(text if "://" in text else f"http://{text}", f"{name}, environment")
    return None


def _variable(caller: Mapping[str, str], name: str) -> str:
    # In lower case it wins, also where it is empty: so a user turns one off.
    return caller.get(name, caller.get(name.upper(), ""))


def _goes_by_itself(host: str, no_proxy: str) -> bool:
    """Return whether a host is this machine, or is named in `no_proxy`, by itself or its domain."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return True
    named = [each.strip().lower().lstrip(".") for each in no_proxy.split(",") if each.strip()]
    return "*" in named or any(host == each or host.endswith(f".{each}") for each in named)


def supernode_environment(proxy: Proxy | None) -> dict[str, str]:
    """Return the environment variables that a SuperNode is told of its proxy by."""
    return {} if proxy is None else {"https_proxy": proxy.url}


def check_proxy(proxy: Proxy) -> None:
    """Ask a proxy for nothing but to answer.

    Raises:
        ConfigurationError: nobody answers there.
    """
    try:
        with socket.create_connection((proxy.host, proxy.port), timeout=_CONNECT_S):
            pass
    except OSError as error:
        why = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else error)
        raise ConfigurationError(
            f"proxy {proxy} does not answer: {why}",
            hint="is its address right, and does it run? without it the SuperLink is not reached",
        ) from error
