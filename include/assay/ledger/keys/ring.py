"""A log's keys in the order in which they signed; where one public key is asked for, the ring is its newest one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.ledger.keys.signing import key_id, raw_public_key


@dataclass(frozen=True)
class Tenure:
    """A key and the entries that it signs: from position `since` up to the next key's."""

    key: Ed25519PublicKey
    since: int


class KeyRing(Ed25519PublicKey):
    """All keys of a log. Where one public key is asked for, it is the newest one.

    Args:
        tenures: The keys in the order of the log, the first one since 0.
    """

    def __init__(self, tenures: tuple[Tenure, ...]) -> None:
        self.tenures = tenures

    @property
    def first(self) -> Ed25519PublicKey:
        """The key that the log began with: its origin is named after it."""
        return self.tenures[0].key

    @property
    def newest(self) -> Ed25519PublicKey:
        """The key that signs now."""
        return self.tenures[-1].key

    def at(self, position: int) -> Ed25519PublicKey:
        """The key that must have signed the entry at a position, and the checkpoint after it."""
        return self.tenures[max(0, bisect_right([tenure.since for tenure in self.tenures], position) - 1)].key

    def named(self, keyid: str) -> Ed25519PublicKey | None:
        """The key with an id, whenever it signed."""
        return next((tenure.key for tenure in self.tenures if key_id(tenure.key) == keyid), None)

    def __contains__(self, key: object) -> bool:
        return any(tenure.key == key for tenure in self.tenures)

    def public_bytes(self, encoding: serialization.Encoding, format: serialization.PublicFormat) -> bytes:
        """The newest key's bytes."""
        return self.newest.public_bytes(encoding, format)

    def public_bytes_raw(self) -> bytes:
        """The newest key's 32 bytes."""
        return self.newest.public_bytes_raw()

    def verify(self, signature: Any, data: Any) -> None:
        """Check a signature by the newest key.

        Raises:
            InvalidSignature: It is not.
        """
        self.newest.verify(signature, data)

    def __eq__(self, other: object) -> bool:
        return self.newest == (other.newest if isinstance(other, KeyRing) else other)

    def __hash__(self) -> int:
        return hash(raw_public_key(self.newest))

    def __copy__(self) -> KeyRing:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> KeyRing:
        return self


def first_of(key: Ed25519PublicKey) -> Ed25519PublicKey:
    """The key that a log began with: the key itself, or the ring's first."""
    return key.first if isinstance(key, KeyRing) else key
