"""`/studio`: a page for looking at users, items, bundles and metrics, made of the public API.

Its files, in `studio_page/`, are static and contain no data, so that they need no API key, just as
`/docs`. What the page shows it asks the API for, with the key that is typed into it.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from service.errors import UnknownPathError

FILES = Path(__file__).parent / "studio_page"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Media types by suffix; what has another one is not served."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}
"""Headers of all files. Pictures are fetched with the key (`blob:`), plots are in reports
(`data:`); nothing is loaded from elsewhere, and nothing inline runs."""
ASSETS = {path.name: path for path in FILES.iterdir() if path.suffix in MEDIA_TYPES}
"""The files that are served, by name."""

router = APIRouter(prefix="/studio", include_in_schema=False)


@router.get("")
async def page() -> FileResponse:
    """The page."""
    return _file(ASSETS["index.html"])


@router.get("/{name}")
async def asset(name: str) -> FileResponse:
    """A file of the page."""
    if name not in ASSETS:
        raise UnknownPathError("there is nothing at this path")
    return _file(ASSETS[name])


def _file(path: Path) -> FileResponse:
    media_type = MEDIA_TYPES[path.suffix]
    return FileResponse(path, media_type=media_type, headers=HEADERS)
