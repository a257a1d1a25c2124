"""`/browse`: HTML pages with a user's history and recommendations, and with similar items.

They exist only if `--pictures` names the folder to which the items' image paths are relative. They
are for trying out; programs use the API.
"""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, PackageLoader

from bundle.catalogue.catalogue import Catalogue
from bundle.search.options import SearchOptions
from bundle.search.topk import TopK
from service.api.dependencies import CurrentEngine, ItemIdPath, UserIdPath
from service.api.pictures import find_picture
from service.engine.engine import Engine
from service.errors import UnknownItemError

IMAGE_COLUMNS = ("image", "image_path")
"""Columns that may hold the path of an item's picture."""
K = 20
"""Number of recommended items on a page."""
HISTORY = 12
"""Number of items of a user's history on a page."""

NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
PICTURE_HEADERS = NO_SNIFFING | {
    "Cache-Control": "max-age=3600",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
"""Headers of pictures: a browser must not take one for a page, or run what it may contain."""
PAGE_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'nonce-NONCE'; script-src 'nonce-NONCE'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of a page, whose only script and style have its nonce."""


def browse_router(pictures: Path) -> APIRouter:
    """The pages, which are not part of the API's schema."""
    router = APIRouter(prefix="/browse", include_in_schema=False)
    page = Environment(loader=PackageLoader("service.api", "."), autoescape=True).get_template(
        "browse.html"
    )
    root = pictures.resolve()

    def render(request: Request, engine: Engine, **shown: Any) -> HTMLResponse:
        some = engine.bundle.users.ids[:8]
        path = request.scope.get("root_path", "") + "/browse"
        version = engine.bundle.version
        nonce = secrets.token_urlsafe(16)
        html = page.render(base=path, users=some, version=version, nonce=nonce, **shown)
        policy = PAGE_POLICY.replace("NONCE", nonce)
        return HTMLResponse(html, headers={**NO_SNIFFING, "Content-Security-Policy": policy})

    @router.get("/pictures/{item_id:id}")
    async def picture(item_id: ItemIdPath, engine: CurrentEngine) -> FileResponse:
        relative = _image_path(engine.catalogue, item_id)
        found = await asyncio.to_thread(find_picture, root, relative) if relative else None
        if found is None:
            raise UnknownItemError("item_id: there is no picture of this item", "item_id")
        path, media_type = found
        return FileResponse(path, media_type=media_type, headers=PICTURE_HEADERS)

    @router.get("/items/{item_id:id}")
    async def item(item_id: ItemIdPath, request: Request, engine: CurrentEngine) -> HTMLResponse:
        item_idx = engine.catalogue.get(item_id)
        if item_idx is None:
            raise UnknownItemError("item_id: there is no such item", "item_id")
        top = await engine.similar(item_idx, K)
        this = TopK(np.array([item_idx], np.int32), np.ones(1, np.float32))
        return render(
            request,
            engine,
            title=item_id,
            sections=[
                ("This item", _cards(engine, this, False)),
                ("Similar items", _cards(engine, top, True)),
            ],
        )

    @router.get("/{user_id:id}")
    async def user(user_id: UserIdPath, request: Request, engine: CurrentEngine) -> HTMLResponse:
        profile = await engine.profiles.get(user_id, engine.catalogue)
        seen = profile.history
        if profile.vector is None:
            heading, top = "Popular items", engine.recommender.popular(K, seen)
        else:
            heading, top = (
                "Recommended",
                await engine.search(profile.vector, SearchOptions(K, seen)),
            )
        history = TopK(seen[:HISTORY], np.ones(len(seen[:HISTORY]), np.float32))
        liked = (f"Liked ({len(seen)} in all)", _cards(engine, history, False))
        sections = [*([liked] if len(seen) else []), (heading, _cards(engine, top, True))]
        return render(request, engine, title=user_id, sections=sections)

    return router


def _cards(engine: Engine, top: TopK, with_score: bool) -> list[dict[str, Any]]:
    catalogue = engine.catalogue
    return [
        {
            "item_id": catalogue.item_id(item_idx),
            "title": catalogue.columns(item_idx).get("title"),
            "score": f"{score:.3f}" if with_score else None,
        }
        for item_idx, score in zip(top.item_idx.tolist(), top.scores.tolist(), strict=True)
    ]


def _image_path(catalogue: Catalogue, item_id: str) -> str | None:
    """The path of an item's picture, as the item has it."""
    item_idx = catalogue.get(item_id)
    columns = {} if item_idx is None else catalogue.columns(item_idx)
    relative = next((columns[name] for name in IMAGE_COLUMNS if name in columns), None)
    return relative if isinstance(relative, str) else None
