"""Key sets of who signs tokens: Google's Confidential Space, Azure's attestation providers.

Nobody signs a key set: it is worth as much as the HTTPS connection over which it was fetched.
"""

from __future__ import annotations

from fedenclave.attestation.azure.maa import jwks_name
from fedenclave.attestation.google.confidential_space import JWKS, ROOT_CRL
from fedenclave.vendors import readable
from fedenclave.vendors.request import CollateralRequest, saved_as

GOOGLE_JWKS_URL = (
    "https://www.googleapis.com/service_accounts/v1/metadata/jwk/"
    "signer@confidentialspace-sign.iam.gserviceaccount.com"
)
"""`jwks_uri` of the issuer's discovery document, as Google documents it."""

GOOGLE_CRL_URL = (
    "http://privateca-content-65aa66b4-0000-231c-af62-14c14ee66454.storage.googleapis.com/"
    "d314ee4ff48dc3c2550a/crl.crl"
)
"""The distribution point that the intermediate certificate of a PKI token names."""


def google_requests() -> list[CollateralRequest]:
    """Return what a verifier of a token of Confidential Space needs, of either type."""
    return [
        CollateralRequest(url=GOOGLE_JWKS_URL, files=saved_as(JWKS, readable.json_object)),
        CollateralRequest(url=GOOGLE_CRL_URL, files=saved_as(ROOT_CRL, readable.crl)),
    ]


def azure_requests(issuer: str) -> list[CollateralRequest]:
    """Return what a verifier of a token by the attestation provider `issuer` (an URL) needs."""
    url = issuer.rstrip("/") + "/certs"
    return [CollateralRequest(url=url, files=saved_as(jwks_name(issuer), readable.json_object))]
