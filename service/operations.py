"""Endpoints for those who run the service: `/healthz`, `/readyz`, `/info`, `/metrics`."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from bundle.filters import MAX_LENGTH as MAX_FILTER
from service.errors import BundleRefusedError
from service.operation_schemas import (
    BundleInfo,
    Health,
    Info,
    Limits,
    PartInfo,
    Readiness,
    Reloaded,
)
from service.postings import MAX_CONTENTS, MAX_EVENTS, MAX_ITEMS
from service.queries import (
    MAX_K,
    MAX_SESSION,
    MAX_USERS,
)
from service.responses import error_responses
from service.running import CurrentService, CurrentServing
from service.swap import Swapper

METRICS = """# HELP drepmrec_requests_in_flight Requests in work.
# TYPE drepmrec_requests_in_flight gauge
drepmrec_requests_in_flight 1.0
"""
"""A piece of what `/metrics` answers."""


async def healthz() -> Health:
    """Whether the process is alive."""
    return Health()


async def readyz(service: CurrentService, serving: CurrentServing) -> Readiness:
    """Whether requests can be answered. A failing Redis does not change that; the body says it."""
    degraded = serving.tastes.degraded
    return Readiness(
        bundle_version=serving.bundle.version,
        degraded=degraded,
        redis="off" if service.redis is None else "failing" if degraded else "ok",
    )


async def info(service: CurrentService, serving: CurrentServing) -> Info:
    """What is running: the bundle, its evaluation, limits, configuration."""
    manifest = serving.bundle.manifest
    settings = service.settings
    return Info(
        bundle=BundleInfo(
            version=serving.bundle.version,
            created_at=manifest.created_at.isoformat(),
            parent_version=manifest.parent_version,
            data_fingerprint=manifest.data_fingerprint,
            users=manifest.n_users,
            items=manifest.n_items,
            dim=manifest.dim,
            parts=[PartInfo(**part.model_dump()) for part in manifest.parts],
            modalities=manifest.modalities,
            index=manifest.index.kind,
            index_recall=manifest.index.recall,
            report=serving.bundle.report,
        ),
        limits=Limits(
            max_k=MAX_K,
            max_id_length=settings.max_id_length,
            max_body=settings.max_body,
            max_session=MAX_SESSION,
            max_users=MAX_USERS,
            max_items=MAX_ITEMS,
            max_contents=MAX_CONTENTS,
            max_events=MAX_EVENTS,
            max_filter=MAX_FILTER,
            max_concurrency=settings.max_concurrency,
        ),
        content=service.content.kinds if service.content else {},
        threads=service.threads,
        settings=settings.public(),
    )


async def reload(request: Request) -> Reloaded:
    """Serve what the store's pointer says, now and not at the next look.

    It goes for the worker that answers; others, and other replicas, find it by looking.
    """
    swapper: Swapper = request.app.state.swapper
    swap = await swapper.look()
    if swap.outcome == "refused":
        raise BundleRefusedError(swap.reason or "refused")
    return Reloaded(outcome=swap.outcome, bundle_version=swap.version)


async def metrics(service: CurrentService) -> Response:
    """Prometheus metrics of all workers."""
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def operations_router() -> APIRouter:
    """A router with the four endpoints."""
    router = APIRouter(tags=["operations"], responses=error_responses())
    router.get("/healthz")(healthz)
    router.get("/readyz")(readyz)
    router.get("/info")(info)
    router.post("/admin/reload", responses=error_responses("bundle_refused"))(reload)
    router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"example": METRICS}}, "description": "Prometheus text"}
        },
    )(metrics)
    return router
