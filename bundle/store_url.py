"""What names a store: a local directory, or the URL of a bucket or a prefix in an object store."""

import re
from pathlib import Path

from bundle.errors import InputError

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "memory": None}
"""Object stores by the scheme of their URL, and the extra that brings their file system."""
LOCAL = ("file", "local")


def parse_root(root: Path | str) -> Path | str:
    """A local directory as a path, an object store as its URL.

    Raises:
        InputError: it is a URL that cannot be a store's, or one with credentials. They are not
            repeated: URLs are logged and shown, credentials belong into the environment.
    """
    if isinstance(root, Path) or "://" not in root:
        return Path(root)
    scheme, _, rest = root.partition("://")
    shown = f"{scheme}://{re.split('[?#]', rest.rpartition('@')[2])[0]}"
    if scheme not in (*EXTRAS, *LOCAL):
        known = ", ".join(f"{each}://" for each in EXTRAS)
        raise InputError(f"{shown}: a store is a local directory or one of {known}")
    container, at, host = rest.partition("@")
    # abfs://container@account.dfs.core.windows.net/prefix
    at_account = scheme == "abfs" and not re.search("[:/@]", container) and "@" not in host
    if (at and not at_account) or re.search("[?#]", rest):
        raise InputError(f"{shown}: credentials belong into the environment, not into a URL")
    if scheme in LOCAL:
        if not rest.startswith("/"):
            raise InputError(f"{shown}: must be absolute, {scheme}:///…")
        return Path(rest)
    if not rest.strip("/") or (rest.startswith("/") and scheme != "memory"):
        raise InputError(f"{shown}: names no bucket")
    return root.rstrip("/")
