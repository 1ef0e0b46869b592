"""Keys of a masked sum: X25519 agreements, HKDF, ChaCha20 as the generator of masks (extra `federate`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from consort.core.errors import MissingExtra
from consort.federate.secure.fields import Words

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    hint = 'pip install "consort[federate]"'
    raise MissingExtra("secure sums need cryptography", field="cryptography", hint=hint) from error

__all__ = ["InvalidTag", "agreed", "fresh", "masks", "opened", "public_of", "sealed"]


def fresh() -> bytes:
    """A new private key."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed(private: bytes, public: bytes, purpose: str) -> bytes:
    """The key that only the two owners can derive, for one purpose."""
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.encode()).derive(shared)


def masks(key: bytes, count: int) -> Words:
    """The first `count` numbers of the generator with this key, uniform modulo 2^32."""
    cipher: Any = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    words: Words = np.frombuffer(cipher.update(bytes(4 * count)), "<u4").astype(np.uint32)
    return words


def sealed(key: bytes, text: bytes) -> bytes:
    """Encrypted and authenticated; a key seals one text only."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), text, None)


def opened(key: bytes, sealed_text: bytes) -> bytes:
    """Raises InvalidTag for a text that was changed."""
    return ChaCha20Poly1305(key).decrypt(bytes(12), sealed_text, None)
