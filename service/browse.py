"""A page to look at: what users liked, what they are recommended, what resembles an item.

Only there when `--pictures` names the folder that the items' image paths are relative to. Meant for
trying out; the API is what programs use.
"""

from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, PackageLoader

from bundle.catalogue import Catalogue
from bundle.topk import TopK
from service.running import CurrentServing
from service.serving import Serving
from service.wishes import Wishes

IMAGE_COLUMNS = ("image", "image_path")
K = 20
HISTORY = 12
"""Items of a user's history that are shown."""


def browse_router(pictures: Path) -> APIRouter:
    """Pages under `/browse`, left out of the API's schema."""
    router = APIRouter(prefix="/browse", include_in_schema=False)
    page = Environment(loader=PackageLoader("service", "."), autoescape=True).get_template(
        "browse.html"
    )
    root = pictures.resolve()

    def render(request: Request, serving: Serving, **shown: Any) -> HTMLResponse:
        some = serving.bundle.users.ids[:8]
        path = request.scope.get("root_path", "") + "/browse"
        version = serving.bundle.version
        return HTMLResponse(page.render(base=path, users=some, version=version, **shown))

    @router.get("/pictures/{item_id:path}")
    async def picture(item_id: str, serving: CurrentServing) -> FileResponse:
        path = _picture(serving.catalogue, item_id, root)
        if path is None:
            raise HTTPException(404, "item_id: there is no picture of this item")
        return FileResponse(path, headers={"Cache-Control": "max-age=3600"})

    @router.get("/items/{item_id:path}")
    async def item(item_id: str, request: Request, serving: CurrentServing) -> HTMLResponse:
        item_idx = serving.catalogue.get(item_id)
        if item_idx is None:
            raise HTTPException(404, "item_id: there is no such item")
        top = await serving.similar(item_idx, K)
        this = TopK(np.array([item_idx], np.int32), np.ones(1, np.float32))
        return render(
            request,
            serving,
            title=item_id,
            sections=[
                ("This item", _cards(serving, this, False)),
                ("Similar items", _cards(serving, top, True)),
            ],
        )

    @router.get("/{user_id:path}")
    async def user(user_id: str, request: Request, serving: CurrentServing) -> HTMLResponse:
        taste = await serving.tastes.get(user_id, serving.catalogue)
        seen = taste.history
        if taste.vector is None:
            heading, top = "Popular items", serving.recommender.popular(K, seen)
        else:
            heading, top = "Recommended", await serving.search(taste.vector, Wishes(K, seen))
        history = TopK(seen[:HISTORY], np.ones(len(seen[:HISTORY]), np.float32))
        liked = (f"Liked ({len(seen)} in all)", _cards(serving, history, False))
        sections = [*([liked] if len(seen) else []), (heading, _cards(serving, top, True))]
        return render(request, serving, title=user_id, sections=sections)

    return router


def _cards(serving: Serving, top: TopK, with_score: bool) -> list[dict[str, Any]]:
    catalogue = serving.catalogue
    return [
        {
            "item_id": catalogue.item_id(item_idx),
            "title": catalogue.columns(item_idx).get("title"),
            "score": f"{score:.3f}" if with_score else None,
        }
        for item_idx, score in zip(top.item_idx.tolist(), top.scores.tolist(), strict=True)
    ]


def _picture(catalogue: Catalogue, item_id: str, root: Path) -> Path | None:
    """An item's picture file, None if it has none inside `root`."""
    item_idx = catalogue.get(item_id)
    columns = {} if item_idx is None else catalogue.columns(item_idx)
    relative = next((columns[name] for name in IMAGE_COLUMNS if name in columns), None)
    if not isinstance(relative, str) or not relative:
        return None
    path = (root / relative).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None
