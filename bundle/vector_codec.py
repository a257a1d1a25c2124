"""A user vector as it lies in Redis: raw float32 and a digest.

`value = vector (4·D bytes, little-endian) + blake2b(key + vector, 8 bytes)`

A length check alone would accept wrong bytes of the right length: another user's row after a
mix-up of keys or replies, a value cut and refilled, a write of another program. The digest covers
the key, so each value is valid in its own place only. It recognises accidents; it is no defence
against somebody who may write to Redis and knows this page.

Keys are `drepmrec:<namespace>:<bundle version>:user_vector:<user_id>`, so that two versions never
mix, even while some replicas run the old one.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 8


def key_prefix(namespace: str, version: str) -> bytes:
    """What comes before the user_id in the keys of a bundle's vectors."""
    return f"drepmrec:{namespace}:{version}:user_vector:".encode()


def encode_vector(key: bytes, vector: NDArray[np.float32]) -> bytes:
    """The value to store under a key for a vector [D]."""
    raw = vector.astype("<f4", copy=False).tobytes()
    return raw + blake2b(key + raw, digest_size=DIGEST_BYTES).digest()


def decode_vector(key: bytes, value: object, dim: int) -> NDArray[np.float32] | None:
    """The vector [D] that was stored under this key; None for anything else."""
    if not isinstance(value, bytes) or len(value) != 4 * dim + DIGEST_BYTES:
        return None
    raw = value[:-DIGEST_BYTES]
    if blake2b(key + raw, digest_size=DIGEST_BYTES).digest() != value[-DIGEST_BYTES:]:
        return None
    return np.frombuffer(raw, "<f4")
