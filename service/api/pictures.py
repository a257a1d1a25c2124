"""`/pictures`: pictures of items, files below one folder that are pictures by their content."""

import asyncio
from pathlib import Path

from fastapi.responses import FileResponse

from bundle.catalogue.catalogue import Catalogue
from service.api.dependencies import CurrentEngine, CurrentRuntime, ItemIdPath
from service.api.openapi_errors import error_responses
from service.errors import UnknownItemError
from service.http.fast_route import ResourceRouter

IMAGE_COLUMNS = ("image", "image_path")
"""Columns that may hold the path of an item's picture."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "max-age=3600",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
"""Headers of pictures: a browser must not take one for a page, or run what it may contain."""
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
)
"""Position, bytes and media type of each kind of picture. SVG is none: it may have scripts."""
BINARY = {"type": "string", "format": "binary"}
"""Schema of bytes in OpenAPI."""

router = ResourceRouter("items")


@router.get(
    "/pictures/{item_id:id}",
    summary="Get the picture of an item",
    response_class=FileResponse,
    responses={
        200: {
            "content": {"image/*": {"schema": BINARY, "example": "the bytes of the file"}},
            "description": "JPEG, PNG, GIF, WebP or AVIF",
        },
        **error_responses("invalid_parameter", "unknown_item"),
    },
)
async def picture(
    item_id: ItemIdPath, runtime: CurrentRuntime, engine: CurrentEngine
) -> FileResponse:
    """The file below `--pictures` that the item's column `image` or `image_path` names.

    Whatever is no picture by its content is none.
    """
    folder, relative = runtime.settings.pictures, _image_path(engine.catalogue, item_id)
    found = None
    if folder is not None and relative is not None:
        found = await asyncio.to_thread(lambda: find_picture(folder.resolve(), relative))
    if found is None:
        raise UnknownItemError("item_id: there is no picture of this item", "item_id")
    path, media_type = found
    return FileResponse(path, media_type=media_type, headers=HEADERS)


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


def _image_path(catalogue: Catalogue, item_id: str) -> str | None:
    """The path of an item's picture, as the item has it."""
    item_idx = catalogue.get(item_id)
    columns = {} if item_idx is None else catalogue.columns(item_idx)
    relative = next((columns[name] for name in IMAGE_COLUMNS if name in columns), None)
    return relative if isinstance(relative, str) else None
