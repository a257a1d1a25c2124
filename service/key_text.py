"""What an API key looks like, so that one is recognised wherever it turns up."""

import hashlib
import re
import secrets

PREFIX = "drk_"
_KEY = re.compile(PREFIX + r"[A-Za-z0-9_-]+")
"""The beginning of a key, too: messages cut long values."""


def new_key() -> str:
    """A random key: the prefix and 256 bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """What is kept of a key. It is random, so that a slow hash would protect nothing."""
    return hashlib.sha256(key.encode()).digest()


def without_keys(text: str) -> str:
    """A text for a log or an answer, in which no key is left."""
    return _KEY.sub(f"{PREFIX}…", text) if PREFIX in text else text
