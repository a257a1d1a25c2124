"""API keys of every scope, and the entries of a key file for them."""

import json
from typing import Any

from service.redaction import digest, new_key

SCOPES = {"reader": ["read"], "writer": ["write"], "admin": ["admin"], "slow": ["read"]}
KEYS = {name: new_key() for name in SCOPES}
LIMITS = {"slow": {"requests_per_second": 0.001, "burst": 3}}
"""Three requests, and the next one a quarter of an hour later."""


def entries(*names: str, **changes: Any) -> str:
    """The content of a key file with some of KEYS; `changes` are fields of all entries."""
    return json.dumps(
        [
            {
                "name": name,
                "sha256": digest(KEYS[name]).hex(),
                "scopes": SCOPES[name],
                "requests_per_second": None,
                **LIMITS.get(name, {}),
                **changes,
            }
            for name in names
        ]
    )


def authorization(name: str) -> dict[str, str]:
    """The header of a request with one of KEYS."""
    return {"Authorization": f"Bearer {KEYS[name]}"}
