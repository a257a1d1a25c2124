"""Manifests that fit a bundle's files as they are now."""

from pathlib import Path
from typing import Any

from bundle.format.manifest import MANIFEST, Manifest, describe


def seal(directory: Path, **changes: Any) -> None:
    """A manifest that fits the files as they are now, so that no checksum gives them away."""
    manifest = Manifest.read(directory)
    files = {name: describe(directory / name) for name in manifest.files}
    sealed = manifest.model_copy(update={"files": files, **changes})
    (directory / MANIFEST).write_bytes(sealed.to_bytes())
