"""Schemas of the endpoints for the bundles of the store."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bundle.format.manifest import Verdict
from service.schemas.base import Identifier, Schema
from service.schemas.recommend import ANSWER, Recommendations, UserQuery

EXAMPLE = "20260314T091500Z-5f0c2a71"
Version = Annotated[
    str, Field(min_length=1, max_length=100, description="version of a bundle", examples=[EXAMPLE])
]


class StoredBundle(Schema):
    """A bundle of the store."""

    version: str
    created_at: str
    parent_version: str | None = Field(description="the bundle that was live when it was made")
    users: int
    items: int
    bytes: int = Field(description="size of its files")
    gate: Verdict | None = Field(
        description="the gate's verdict; null if it was published without one"
    )
    has_report: bool = Field(description="whether the store has the gate's report")


class StoredBundles(Schema):
    """Response of `/admin/bundles`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "live_version": EXAMPLE,
                "served_version": EXAMPLE,
                "bundles": [
                    {
                        "version": EXAMPLE,
                        "created_at": "2026-03-14T09:15:00+00:00",
                        "parent_version": None,
                        "users": 9308,
                        "items": 6710,
                        "bytes": 25431877,
                        "gate": {"passed": True, "problems": [], "forced": None},
                        "has_report": True,
                    }
                ],
            }
        }
    )

    live_version: str | None = Field(description="the bundle that the store's pointer names")
    served_version: str = Field(description="the bundle that this worker serves")
    bundles: list[StoredBundle] = Field(description="the newest first; damaged ones are left out")


class CompareRequest(UserQuery):
    """Body of `POST /admin/compare`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"example": {"user_id": "u-1042", "version": EXAMPLE, "k": 10}},
    )

    user_id: Identifier
    version: Version


class ComparedAnswers(Schema):
    """Response of `POST /admin/compare`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"served": ANSWER, "other": ANSWER, "overlap": 1.0}}
    )

    served: Recommendations = Field(description="the answer of the bundle that is served")
    other: Recommendations = Field(description="the answer of the bundle that was asked for")
    overlap: float = Field(description="share of the served items that the other returns, too")


class Rollback(Schema):
    """Body of `POST /admin/rollback`."""

    model_config = ConfigDict(strict=True, json_schema_extra={"example": {"version": EXAMPLE}})

    version: Version
