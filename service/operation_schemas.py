"""What comes out of the endpoints for those who run the service, for OpenAPI."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from service.schemas import Schema


class Reloaded(Schema):
    """Answer of `POST /admin/reload`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"outcome": "swapped", "bundle_version": "20260314T091500Z-5f0c2a71"}
        }
    )

    outcome: Literal["unchanged", "swapped"]
    bundle_version: str = Field(description="what serves now")


class Health(Schema):
    """Answer of `/healthz`."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "alive"}})

    status: Literal["alive"] = "alive"


class Readiness(Schema):
    """Answer of `/readyz`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "ready",
                "bundle_version": "20260314T091500Z-5f0c2a71",
                "degraded": False,
                "redis": "off",
            }
        }
    )

    status: Literal["ready"] = "ready"
    bundle_version: str
    degraded: bool = Field(description="Redis is configured and fails; answers stay right")
    redis: Literal["off", "ok", "failing"]


class PartInfo(Schema):
    """Columns of the vectors, start ≤ d < stop, that hold one line or modality."""

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
    modalities: dict[str, int] = Field(description="features of each modality")
    index: Literal["flat", "ivf"]
    index_recall: float
    report: dict[str, Any] = Field(description="the evaluation that it was published with")


class Limits(Schema):
    """What a request may ask for."""

    max_k: int
    max_id_length: int
    max_body: int
    max_session: int
    max_users: int
    max_items: int
    max_contents: int = Field(description="texts and pictures of one request")
    max_events: int
    max_filter: int = Field(description="characters of a filter")
    max_concurrency: int


class Info(Schema):
    """Answer of `/info`."""

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
                    "max_items": 1000,
                    "max_contents": 50,
                    "max_events": 1000,
                    "max_filter": 1000,
                    "max_concurrency": 256,
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
        description="what features of new items are made of here, by modality"
    )
    threads: int = Field(description="searches at a time and ONNX threads, in a worker")
    settings: dict[str, Any] = Field(description="the configuration, without secrets")
