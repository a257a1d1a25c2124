"""Schemas of `/similar`."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bundle.search.options import FilterText
from service.schemas.base import DEFAULT_K, AnsweringBundle, K, Schema
from service.schemas.recommend import ScoredItem


class SimilarQuery(Schema):
    """Parameters of `/similar/{item_id}`."""

    k: K = DEFAULT_K
    by: Annotated[
        str,
        Field(
            description="vectors to compare: `fused`, or one of the bundle's parts except "
            "popularity, e.g. `behaviour` or `image` (listed by `/info`)",
            examples=["fused", "behaviour", "image"],
        ),
    ] = "fused"
    filter: FilterText = None


class SimilarItem(ScoredItem):
    """A similar item."""

    title: str | None = Field(description="null if it has none")


class SimilarItems(Schema):
    """Response of `/similar/{item_id}`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "i-77",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "degraded": False,
                "items": [
                    {"item_id": "i-3", "score": 0.9127, "rank": 1, "title": "Blue kettle"},
                    {"item_id": "i-9", "score": 0.8871, "rank": 2, "title": None},
                ],
            }
        }
    )

    item_id: str
    bundle_version: AnsweringBundle
    degraded: bool = Field(
        description="Redis or the state fails: recent changes of items may be missing"
    )
    items: list[SimilarItem] = Field(
        description="most similar first, without the item itself; none if it has no vector"
    )
