"""What the gateway presents: a certificate and its key, read and tried before anything starts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from fedenclave.protocol.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the certificate chain, leaf first, and its unencrypted private key."""

    certificate: Path
    key: Path


def server_credentials(
    tls: TlsFiles | None, *, insecure_plaintext: bool
) -> grpc.ServerCredentials | None:
    """Return what gRPC serves with; None for plain text.

    Raises:
        ConfigurationError: the files cannot be read or used, or it is not said which of both.
    """
    if tls is None:
        if not insecure_plaintext:
            raise ConfigurationError(
                "gateway has no TLS files",
                hint="name certificate and key, or say insecure_plaintext = true",
            )
        return None
    if insecure_plaintext:
        raise ConfigurationError(
            "gateway has TLS files and insecure_plaintext = true", hint="remove one of them"
        )
    try:
        key, certificate = tls.key.read_bytes(), tls.certificate.read_bytes()
        # gRPC takes any two files and fails at each handshake, with the reason in nobody's sight.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            tls.certificate, tls.key, password=_no_password
        )
        return grpc.ssl_server_credentials([(key, certificate)])
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"TLS files {tls.certificate} and {tls.key} cannot be used: "
            f"{error.reason or 'not PEM'}",
            hint="want a PEM certificate chain, leaf first, and the PEM private key that fits it, "
            "without a passphrase",
        ) from error
    except OSError as error:
        named = error.filename or f"{tls.certificate} or {tls.key}"
        raise ConfigurationError(
            f"cannot read TLS file {named}: {error.strerror}",
            hint="[tls] names the certificate for the name that clients use, and its key; for a "
            "trial on one machine, insecure_plaintext = true does without",
        ) from error


def _no_password() -> str:
    # Without it the TLS library would ask at the terminal.
    return ""
