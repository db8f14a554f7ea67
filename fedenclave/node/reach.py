"""Whether the SuperLink answers, by the way that a SuperNode would go, with the right certificate.

This is asked of the operator's own machine, which node.toml names, and of nobody else: a connection
is opened, TLS is agreed on, and closed again.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import urllib.parse
from collections.abc import Mapping

from fedenclave.node.configuration import NodeConfiguration
from fedenclave.node.proxy import Proxy, proxy_in_force
from fedenclave.node.row import Row, State
from fedenclave.protocol.errors import FedEnclaveError

_PATIENCE_S = 5.0
_WHAT = "superlink"
_HINT = "is it up, and does your firewall let this machine out to it? a node that runs tries on"


def superlink_row(configuration: NodeConfiguration, caller: Mapping[str, str] = os.environ) -> Row:
    """Return how the SuperLink answers.

    Args:
        configuration: the node's.
        caller: the environment that the node is started in; it may name a proxy.
    """
    try:
        proxy = proxy_in_force(configuration.proxy, configuration.address, caller)
        context = ssl.create_default_context(cafile=configuration.root_certificate)
    except (FedEnclaveError, OSError):
        # Rows of their own say what is wrong with proxy or certificate.
        return Row(what=_WHAT, state=State.NOTE, found="not asked: see the other rows")
    if proxy is not None and proxy.url.startswith("https:"):
        found = f"not asked: the way goes through {proxy}, by TLS"
        return Row(what=_WHAT, state=State.NOTE, found=found)
    way = "" if proxy is None else f" by {proxy.host}:{proxy.port}"
    try:
        with contextlib.closing(_connection(configuration.address, proxy, context)) as connection:
            connection.connect()
    except ssl.SSLCertVerificationError as error:
        found = f"{configuration.address}{way} shows another certificate: {error.verify_message}"
        hint = "is it the operator's SuperLink, and superlink-ca.pem its authority? a proxy that "
        hint += "breaks TLS open looks like this, too"
        return Row(what=_WHAT, state=State.UNREACHABLE, found=found, hint=hint)
    except (OSError, http.client.HTTPException) as error:
        found = f"{configuration.address}{way} does not answer: {_why(error)}"
        return Row(what=_WHAT, state=State.UNREACHABLE, found=found, hint=_HINT)
    return Row(what=_WHAT, state=State.OK, found=f"{configuration.address}{way} answers")


def _connection(
    address: str, proxy: Proxy | None, context: ssl.SSLContext
) -> http.client.HTTPSConnection:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if proxy is None:
        return http.client.HTTPSConnection(host, int(port), timeout=_PATIENCE_S, context=context)
    through = http.client.HTTPSConnection(
        proxy.host, proxy.port, timeout=_PATIENCE_S, context=context
    )
    through.set_tunnel(host, int(port), headers=_authorization(proxy))
    return through


def _authorization(proxy: Proxy) -> dict[str, str]:
    parts = urllib.parse.urlsplit(proxy.url)
    if parts.username is None:
        return {}
    words = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known here"
    if isinstance(error, TimeoutError):
        return f"nothing came within {_PATIENCE_S:.0f} s"
    return str(getattr(error, "strerror", None) or error)[:200]
