"""Names of stores: a path, or the URL of a bucket or prefix in an object store."""

import re
from pathlib import Path

from bundle.errors import InputError

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "memory": None}
"""Schemes of object stores, and the pip extra that installs the file system of each."""
LOCAL = ("file", "local")
"""Schemes of a local directory, as fsspec names it."""


def parse_root(root: Path | str) -> Path | str:
    """Parse the name of a store into a local path or the URL of an object store.

    Raises:
        InputError: the name is empty, or the URL has an unknown scheme, no bucket, or credentials
            in it. The message does not repeat them. URLs are logged and displayed; credentials
            belong in the environment.
    """
    if not str(root).strip():
        raise InputError("the name of the store is empty")
    if isinstance(root, Path) or "://" not in root:
        return Path(root)
    scheme, _, rest = root.partition("://")
    shown = f"{scheme}://{re.split('[?#]', rest.rpartition('@')[2])[0]}"
    if scheme not in (*EXTRAS, *LOCAL):
        known = ", ".join(f"{each}://" for each in EXTRAS)
        raise InputError(f"{shown}: not a store; use a local directory or one of {known}")
    container, at, host = rest.partition("@")
    # abfs://container@account.dfs.core.windows.net/prefix
    at_account = scheme == "abfs" and not re.search("[:/@]", container) and "@" not in host
    if (at and not at_account) or re.search("[?#]", rest):
        raise InputError(f"{shown}: credentials belong in the environment, not in a URL")
    if scheme in LOCAL:
        if not rest.startswith("/"):
            raise InputError(f"{shown}: the path must be absolute: {scheme}:///…")
        return Path(rest)
    if not rest.strip("/") or (rest.startswith("/") and scheme != "memory"):
        raise InputError(f"{shown}: the URL has no bucket")
    return root.rstrip("/")
