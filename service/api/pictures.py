"""Pictures of items: files below one folder that are pictures by their content."""

from pathlib import Path

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
)
"""Position, bytes and media type of each kind of picture. SVG is none: it may have scripts."""


def find_picture(root: Path, relative: str) -> tuple[Path, str] | None:
    """A picture below a folder, and its media type.

    Whoever may write an item chooses the path, so any other file below the folder is none.

    Args:
        root: the folder, without links in its path.
        relative: path in the folder, as an item's column has it.

    Returns:
        None if there is no such file, it is outside of the folder or no picture.
    """
    try:
        path = (root / relative).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            return None
        with path.open("rb") as file:
            start = file.read(16)
    except (OSError, ValueError):  # no permission, a name that is too long or has a NUL
        return None
    for place, signature, media_type in SIGNATURES:
        if start.startswith(signature, place):
            return path, media_type
    return None
