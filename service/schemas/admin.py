"""Schemas of the endpoints for operators."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from bundle.format.manifest import IndexKind
from service.schemas.base import Schema


class ReloadResult(Schema):
    """Response of `POST /admin/reload`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"outcome": "swapped", "bundle_version": "20260314T091500Z-5f0c2a71"}
        }
    )

    outcome: Literal["unchanged", "swapped"]
    bundle_version: str = Field(description="the bundle that is served now")


class Health(Schema):
    """Response of `/healthz`."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "alive"}})

    status: Literal["alive"] = "alive"


class ReadinessStatus(Schema):
    """Response of `/readyz`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "ready",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "degraded": False,
                "redis": "off",
                "store": "ok",
            }
        }
    )

    status: Literal["ready"] = "ready"
    bundle_version: str
    degraded: bool = Field(description="Redis or the state fails; responses stay correct")
    redis: Literal["off", "ok", "failing"] = Field(
        description="`failing`: Redis does not answer, or takes no writes"
    )
    store: Literal["ok", "failing"] = Field(
        description="`failing`: the store cannot be read, or its live bundle was refused; the "
        "running bundle stays in service"
    )


class PartInfo(Schema):
    """The columns of the vectors, start ≤ d < stop, of one line or modality."""

    name: str
    start: int
    stop: int


class BundleInfo(Schema):
    """The running bundle."""

    version: str
    created_at: str
    parent_version: str | None
    data_fingerprint: str
    users: int
    items: int
    dim: int
    parts: list[PartInfo]
    modalities: dict[str, int] = Field(description="number of features of each modality")
    columns: dict[str, str] = Field(
        description="type of each column of the items, which filters can use, as Arrow names it"
    )
    index: IndexKind
    index_recall: float
    report: dict[str, Any] = Field(description="the evaluation at publication")


class Limits(Schema):
    """Limits of requests."""

    max_k: int
    max_id_length: int
    max_body: int
    max_session: int
    max_users: int
    max_cost: int = Field(description="points of a request for many users")
    max_items: int
    max_contents: int = Field(description="texts and images in one request")
    max_events: int
    max_filter: int = Field(description="characters of a filter")
    max_concurrency: int


class Info(Schema):
    """Response of `/info`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "bundle": {
                    "version": "20260314T091500Z-5f0c2a71",
                    "created_at": "2026-03-14T09:15:00+00:00",
                    "parent_version": None,
                    "data_fingerprint": "6f1c0e9b",
                    "users": 9308,
                    "items": 6710,
                    "dim": 129,
                    "parts": [
                        {"name": "behaviour", "start": 0, "stop": 64},
                        {"name": "image", "start": 64, "stop": 128},
                        {"name": "popularity", "start": 128, "stop": 129},
                    ],
                    "modalities": {"image": 128},
                    "columns": {"title": "string", "category": "string", "price": "double"},
                    "index": "flat",
                    "index_recall": 1.0,
                    "report": {"recall@20": 0.1209},
                },
                "limits": {
                    "max_k": 500,
                    "max_id_length": 256,
                    "max_body": 1000000,
                    "max_session": 500,
                    "max_users": 500,
                    "max_cost": 300000,
                    "max_items": 1000,
                    "max_contents": 50,
                    "max_events": 1000,
                    "max_filter": 1000,
                    "max_concurrency": 64,
                },
                "content": {},
                "threads": 2,
                "settings": {"store": "store", "port": 8000, "redis_url": None},
            }
        }
    )

    bundle: BundleInfo
    limits: Limits
    content: dict[str, Literal["text", "image"]] = Field(
        description="kind of content from which features of new items are extracted, by modality"
    )
    threads: int = Field(
        description="number of concurrent searches, and of ONNX threads, per worker"
    )
    settings: dict[str, Any] = Field(description="the configuration without secrets")
