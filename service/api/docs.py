"""`/docs`: Swagger UI, served from files of this package, so that it works without the internet.

`swagger/` has the files of npm's `swagger-ui-dist`, compressed, and a page that starts them.
"""

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from service.errors import UnknownPathError

FILES = Path(__file__).parent / "swagger"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'",
}
"""Headers of the page, which may load nothing from elsewhere; Swagger UI has inline styles."""
ASSETS = {
    "swagger-ui-bundle.js": ("text/javascript", "gzip"),
    "swagger-ui.css": ("text/css", "gzip"),
    "start.js": ("text/javascript", None),
}
"""Media type and encoding of the files that the page loads."""

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("")
async def page() -> Response:
    """The page."""
    return FileResponse(FILES / "index.html", headers=HEADERS)


@router.get("/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    if name not in ASSETS:
        raise UnknownPathError("there is nothing at this path")
    media_type, encoding = ASSETS[name]
    headers = HEADERS | {"Cache-Control": "max-age=86400"}
    if encoding is None:
        return FileResponse(FILES / name, media_type=media_type, headers=headers)
    # Not decompressed for clients that do not accept it: all browsers do.
    headers["Content-Encoding"] = encoding
    return FileResponse(FILES / f"{name}.gz", media_type=media_type, headers=headers)
