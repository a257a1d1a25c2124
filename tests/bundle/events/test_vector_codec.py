"""Encoded user vectors, which carry a digest of their key and bytes."""

import numpy as np

from bundle.events.vector_codec import decode_vector, encode_vector

DIM = 16


def test_only_the_same_key_and_bytes_decode() -> None:
    vector = np.arange(DIM, dtype=np.float32)
    value = encode_vector(b"key", vector)
    decoded = decode_vector(b"key", value, DIM)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, vector)
    assert decode_vector(b"other", value, DIM) is None
    assert decode_vector(b"key", value, DIM + 1) is None
    for position in range(len(value)):
        changed = bytearray(value)
        changed[position] ^= 1
        assert decode_vector(b"key", bytes(changed), DIM) is None
    for nonsense in (None, 1, "text", b"", value[:-1], value + b"x", [value]):
        assert decode_vector(b"key", nonsense, DIM) is None
