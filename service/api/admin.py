"""`/healthz`, `/readyz`, `/info`, `/metrics` and `/admin`: endpoints for operators."""

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST

from bundle.catalogue.filters import MAX_LENGTH as MAX_FILTER
from service.api.dependencies import CurrentEngine, CurrentReloader, CurrentRuntime
from service.api.openapi_errors import error_responses
from service.engine.cost import MAX_COST
from service.errors import BundleRefusedError
from service.http.fast_route import ResourceRouter
from service.schemas.admin import (
    BundleInfo,
    Health,
    Info,
    Limits,
    PartInfo,
    ReadinessStatus,
    ReloadResult,
)
from service.schemas.base import MAX_K
from service.schemas.events import MAX_EVENTS
from service.schemas.items import MAX_CONTENTS, MAX_ITEMS
from service.schemas.recommend import MAX_SESSION, MAX_USERS

METRICS_EXAMPLE = """# HELP drepmrec_requests_in_flight Requests in progress.
# TYPE drepmrec_requests_in_flight gauge
drepmrec_requests_in_flight 1.0
"""

router = ResourceRouter("operations", responses=error_responses())


@router.get("/healthz", summary="Check whether the process is alive")
async def healthz() -> Health:
    """Answers as long as the process is alive."""
    return Health()


@router.get("/readyz", summary="Check whether requests can be answered")
async def readyz(
    runtime: CurrentRuntime, engine: CurrentEngine, reloader: CurrentReloader
) -> ReadinessStatus:
    """Answers as soon as requests can be answered.

    A failing Redis or store does not change that; the body reports it.
    """
    redis = runtime.redis
    degraded = engine.profiles.degraded or runtime.state.refuses_writes
    return ReadinessStatus(
        bundle_version=engine.bundle.version,
        degraded=degraded,
        redis="off" if redis is None else "failing" if degraded else "ok",
        store="failing" if reloader.refusal else "ok",
    )


@router.get("/info", summary="Get the bundle, its evaluation, limits and configuration")
async def info(runtime: CurrentRuntime, engine: CurrentEngine) -> Info:
    """The running bundle with its evaluation, the limits of requests and the configuration."""
    manifest = engine.bundle.manifest
    settings = runtime.settings
    return Info(
        bundle=BundleInfo(
            version=engine.bundle.version,
            created_at=manifest.created_at.isoformat(),
            parent_version=manifest.parent_version,
            data_fingerprint=manifest.data_fingerprint,
            users=manifest.n_users,
            items=manifest.n_items,
            dim=manifest.dim,
            parts=[PartInfo(**part.model_dump()) for part in manifest.parts],
            modalities=manifest.modalities,
            columns={
                field.name: str(field.type)
                for field in engine.bundle.item_table.schema
                if field.name != "item_id"
            },
            index=manifest.index.kind,
            index_recall=manifest.index.recall,
            report=engine.bundle.report,
        ),
        limits=Limits(
            max_k=MAX_K,
            max_id_length=settings.max_id_length,
            max_body=settings.max_body,
            max_session=MAX_SESSION,
            max_users=MAX_USERS,
            max_cost=MAX_COST,
            max_items=MAX_ITEMS,
            max_contents=MAX_CONTENTS,
            max_events=MAX_EVENTS,
            max_filter=MAX_FILTER,
            max_concurrency=settings.max_concurrency,
        ),
        content=runtime.content.kinds if runtime.content else {},
        threads=runtime.threads,
        settings=settings.public(),
    )


@router.post(
    "/admin/reload",
    summary="Serve the bundle that the store's pointer names",
    responses=error_responses("bundle_refused"),
)
async def reload(reloader: CurrentReloader) -> ReloadResult:
    """Serve the bundle that the store's pointer names, now and not at the next look.

    Only the worker that answers reloads; other workers and replicas follow at their next look.
    """
    result = await reloader.look()
    if result.outcome == "refused":
        raise BundleRefusedError(result.reason or "refused")
    return ReloadResult(outcome=result.outcome, bundle_version=result.version)


@router.get(
    "/metrics",
    summary="Get Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"example": METRICS_EXAMPLE}},
            "description": "Prometheus text format",
        }
    },
)
async def metrics(runtime: CurrentRuntime) -> Response:
    """Prometheus metrics of all workers."""
    return Response(runtime.metrics.render(), media_type=CONTENT_TYPE_LATEST)
