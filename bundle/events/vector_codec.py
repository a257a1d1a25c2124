"""Encoding of user vectors in Redis: raw float32 and a digest.

`value = vector (4·D bytes, little-endian) + blake2b(key + vector, 8 bytes)`

A check of the length alone would accept wrong bytes of the right length: another user's vector
after keys or replies were mixed up, a truncated and refilled value, a value that another program
wrote. The digest covers the key, so a value is valid under its own key only. It detects accidents;
it does not protect against an attacker who can write to Redis.
"""

from hashlib import blake2b

import numpy as np

from bundle.types import Vector

DIGEST_BYTES = 8
"""Length of the digest, in bytes: an accident goes unnoticed once in 2⁶⁴."""


def encode_vector(key: bytes, vector: Vector) -> bytes:
    """The value of a vector [D] under a key (`bundle.events.keys.vector_key_prefix`)."""
    raw = vector.astype("<f4", copy=False).tobytes()
    return raw + blake2b(key + raw, digest_size=DIGEST_BYTES).digest()


def decode_vector(key: bytes, value: object, dim: int) -> Vector | None:
    """The vector [D] in a value of this key; None if the value is not valid."""
    if not isinstance(value, bytes) or len(value) != 4 * dim + DIGEST_BYTES:
        return None
    raw = value[:-DIGEST_BYTES]
    if blake2b(key + raw, digest_size=DIGEST_BYTES).digest() != value[-DIGEST_BYTES:]:
        return None
    return np.frombuffer(raw, "<f4")
