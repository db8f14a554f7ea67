"""Keys in a PKCS #11 token: AES-256, made there, which never leave it in any form.

A version is one secret-key object: its label is the key's name, its id is

    u32 version ‖ u64 created ‖ u64 expires        (or u32 version alone, of a key made by hand)

since tokens keep no time of their own that can be relied on. `MODIFIABLE` is off, so that the id
stays. What is wrapped is 12 bytes of nonce ‖ AES-256-GCM, with `bound_bytes` as associated data.

Rules:
  * A key that the token would show is not used: it must be sensitive and not extractable.
  * The nonce is random, and comes from here. Tokens in FIPS mode that insist on their own refuse.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fedenclave.keys.errors import CannotUnwrap, KeyDestroyed, KeysRefused, NoSuchKey, NotAllowed
from fedenclave.keys.expiry import state_of
from fedenclave.keys.pkcs11_token import OpenToken, pkcs11_library
from fedenclave.keys.provider import KeyVersion
from fedenclave.keys.wrapping import bound_bytes

KIND = "pkcs11"
_NONCE_SIZE, _TAG_BITS = 12, 128
_ID, _SHORT_ID = struct.Struct(">IQQ"), struct.Struct(">I")


class TokenKeys:
    """Implements `KeyStore`."""

    kind = KIND
    keeps_expiry = True

    def __init__(self, token: OpenToken, *, clock: Callable[[], float] = time.time) -> None:
        """Use the keys of an open token; `clock` gives Unix seconds."""
        self._token, self._clock = token, clock

    @property
    def place(self) -> str:
        """Return which token it is."""
        return self._token.place

    def create(self, key: str, version: int, expires: int) -> int:
        """Make a key in the token. See `KeyStore.create`."""
        p = pkcs11_library()
        with self._token.session(f"make key {key} version {version}") as session:
            if version in self._of(session, key):
                raise KeysRefused(
                    f"{self.place} has key {key} version {version} already",
                    hint="somebody else has made it just now; call again",
                )
            session.generate_key(
                p.KeyType.AES,
                256,
                label=key,
                id=_ID.pack(version, int(self._clock()), expires),
                store=True,
                capabilities=p.MechanismFlag.ENCRYPT | p.MechanismFlag.DECRYPT,
                template={
                    p.Attribute.PRIVATE: True,
                    p.Attribute.SENSITIVE: True,
                    p.Attribute.EXTRACTABLE: False,
                    p.Attribute.MODIFIABLE: False,
                },
            )
        return version

    def versions(self, key: str | None = None) -> Sequence[KeyVersion]:
        """Return what the token has. See `KeyStore.versions`."""
        now = self._clock()
        with self._token.session("list its keys") as session:
            facts = [(label, *_facts(id_)) for label, id_, _ in self._objects(session, key)]
        newest = {label: max(v for of, v, *_ in facts if of == label) for label, *_ in facts}
        return [
            KeyVersion(
                key=label,
                version=version,
                created=created,
                expires=expires,
                destroyed=0,
                state=state_of(
                    newest=newest[label] == version, expires=expires, destroyed=0, now=now
                ),
            )
            for label, version, created, expires in sorted(facts)
        ]

    def encrypt(self, data_key: bytes, key: str, context: str) -> tuple[int, bytes]:
        """Wrap in the token. See `KeyStore.encrypt`."""
        nonce = os.urandom(_NONCE_SIZE)
        with self._token.session(f"wrap with key {key}") as session:
            found = self._of(session, key)
            if not found:
                raise NoSuchKey(
                    f"{self.place} has no key {key}", hint="fedenclave keys create makes one"
                )
            version = max(found)
            used = self._kept_inside(found[version], key, version)
            sealed = used.encrypt(data_key, **self._gcm(nonce, key, context))
        return version, nonce + sealed

    def decrypt(self, wrapped: bytes, key: str, version: int, context: str) -> bytes:
        """Unwrap in the token. See `KeyStore.decrypt`."""
        nonce, sealed = wrapped[:_NONCE_SIZE], wrapped[_NONCE_SIZE:]
        with self._token.session(f"unwrap with key {key} version {version}") as session:
            used = self._there(self._of(session, key), key, version)
            errors = pkcs11_library().exceptions
            try:
                return bytes(used.decrypt(sealed, **self._gcm(nonce, key, context)))
            except (
                errors.EncryptedDataInvalid,
                errors.EncryptedDataLenRange,
                errors.DataLenRange,
                errors.ArgumentsBad,
                errors.FunctionFailed,
                # What SoftHSM answers where a tag is wrong.
                errors.GeneralError,
            ) as error:
                raise CannotUnwrap(
                    f"key {key} version {version} of {self.place} did not wrap this key of "
                    f"{len(wrapped)} bytes ({type(error).__name__})",
                    hint="is it this token? another may have a key of the same name; else what "
                    "holds the wrapped key was changed, or is another dataset's",
                ) from error

    def destroy(self, key: str, version: int) -> int:
        """Delete the object. See `KeyStore.destroy`."""
        with self._token.session(f"destroy key {key} version {version}") as session:
            self._there(self._of(session, key), key, version).destroy()
        return int(self._clock())

    def _of(self, session: Any, key: str) -> dict[int, Any]:
        objects = self._objects(session, key)
        counted = Counter(_facts(id_)[0] for _, id_, _ in objects)
        if twice := [version for version, count in counted.items() if count > 1]:
            raise KeysRefused(
                f"{self.place} has {counted[twice[0]]} keys {key} version {twice[0]}, want one",
                hint="two programs made one at once: destroy, with the token's own tools, the one "
                "that no dataset uses",
            )
        return {_facts(id_)[0]: found for _, id_, found in objects}

    def _objects(self, session: Any, key: str | None) -> list[tuple[str, bytes, Any]]:
        p = pkcs11_library()
        wanted = {
            p.Attribute.CLASS: p.ObjectClass.SECRET_KEY,
            p.Attribute.KEY_TYPE: p.KeyType.AES,
            **({} if key is None else {p.Attribute.LABEL: key}),
        }
        found = [(each.label, each.id, each) for each in session.get_objects(wanted)]
        # Others' objects may lie in the token, too: those whose id is not one of ours.
        return [(label, id_, each) for label, id_, each in found if _is_version(id_)]

    def _there(self, found: dict[int, Any], key: str, version: int) -> Any:
        if version in found:
            return found[version]
        have = ", ".join(map(str, sorted(found))) or "none"
        what = f"{self.place} has no key {key[:80]} version {version}; versions of it: {have}"
        if found and 1 <= version < max(found):
            raise KeyDestroyed(
                what, hint="it was destroyed, and what only it could open is erased by that"
            )
        raise NoSuchKey(what, hint="is it the right token? fedenclave keys list shows what it has")

    def _kept_inside(self, used: Any, key: str, version: int) -> Any:
        p = pkcs11_library()
        if used[p.Attribute.SENSITIVE] and not used[p.Attribute.EXTRACTABLE]:
            return used
        raise NotAllowed(
            f"key {key} version {version} of {self.place} can be read out of the token, want one "
            "that is sensitive and not extractable",
            hint="fedenclave keys rotate makes one",
        )

    def _gcm(self, nonce: bytes, key: str, context: str) -> dict[str, Any]:
        p = pkcs11_library()
        aad = bound_bytes(KIND, key, context)
        return {
            "mechanism": p.Mechanism.AES_GCM,
            "mechanism_param": p.GCMParams(nonce, aad, _TAG_BITS),
        }


def _is_version(id_: bytes) -> bool:
    return len(id_) in (_ID.size, _SHORT_ID.size) and _facts(id_)[0] > 0


def _facts(id_: bytes) -> tuple[int, int, int]:
    """Return version, time of making and expiry."""
    if len(id_) == _ID.size:
        version, created, expires = _ID.unpack(id_)
        return version, created, expires
    return _SHORT_ID.unpack(id_)[0], 0, 0
