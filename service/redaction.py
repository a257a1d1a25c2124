"""Redaction of API keys: keys are recognised by their prefix in logs, errors and ids."""

import hashlib
import re
import secrets

PREFIX = "drk_"
"""First characters of every key."""
_KEY = re.compile(PREFIX + r"[A-Za-z0-9_-]+")
"""Matches the beginning of a key, too: messages cut long values."""


def new_key() -> str:
    """A random key: the prefix and 256 bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """The stored form of a key. Keys are random, so a slow hash would add no protection."""
    return hashlib.sha256(key.encode()).digest()


def without_keys(text: str) -> str:
    """A text with all keys replaced, for a log or a response."""
    return _KEY.sub(f"{PREFIX}…", text) if PREFIX in text else text
