"""`/admin/bundles`, `/admin/compare` and `/admin/rollback`: the bundles of the store."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any

import orjson
from fastapi import Path, Response
from fastapi.responses import HTMLResponse

from bundle.errors import BundleError, StoreError
from bundle.store.backend import VERSION
from bundle.store.store import BundleStore
from service.api.dependencies import CurrentBeside, CurrentReloader, CurrentRuntime, Limited
from service.api.openapi_errors import error_responses
from service.engine.reload import refusal
from service.errors import BundleRefusedError, StoreUnavailableError, UnknownBundleError
from service.http.fast_route import ResourceRouter
from service.http.parameters import check_id, check_ids
from service.observability.logs import LOGGER
from service.schemas.admin import ReloadResult
from service.schemas.bundles import (
    EXAMPLE,
    ComparedAnswers,
    CompareRequest,
    Rollback,
    StoredBundle,
    StoredBundles,
)

NEWEST = 50
"""Maximum number of bundles of a response; the manifest of each is read."""
REPORTS = "reports"
"""Folder of the gate's reports in a store."""
PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "sandbox",
}
"""Headers of a report, which has its style and its plots in it and needs nothing else."""
REPORT = {
    "candidate": EXAMPLE,
    "live": None,
    "gate": {"users": 4000, "candidate": {"recall@20": 0.5292}, "problems": []},
}
"""An example of a report, of which `docs/guide/refresh.md` says more."""
VersionPath = Annotated[str, Path(description="version of a bundle", examples=[EXAMPLE])]

router = ResourceRouter("operations")


@router.get(
    "/admin/bundles",
    summary="List the bundles of the store",
    responses=error_responses("store_unavailable"),
)
async def bundles(runtime: CurrentRuntime, reloader: CurrentReloader) -> StoredBundles:
    """The newest bundles of the store with the gate's verdicts, and which of them is live."""
    served = runtime.engine.bundle.version
    try:
        return await asyncio.to_thread(_stored, reloader.store, served)
    except StoreError as error:
        raise _unavailable(error) from error


@router.get(
    "/admin/bundles/{version}/report",
    summary="Get the gate's report on a bundle",
    responses={
        200: {"content": {"application/json": {"example": REPORT}}},
        **error_responses("invalid_parameter", "unknown_bundle", "store_unavailable"),
    },
)
async def report(version: VersionPath, reloader: CurrentReloader) -> dict[str, Any]:
    """The comparison with the bundle that was live before: metrics, sizes, drift."""
    found: dict[str, Any] = orjson.loads(await _report(reloader.store, version, "json"))
    return found


@router.get(
    "/admin/bundles/{version}/report.html",
    summary="Get the gate's report on a bundle as a page",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {"example": "<!doctype html>…"}}},
        **error_responses("invalid_parameter", "unknown_bundle", "store_unavailable"),
    },
)
async def report_page(version: VersionPath, reloader: CurrentReloader) -> HTMLResponse:
    """The same as a page of its own, with plots."""
    page = await _report(reloader.store, version, "html")
    return HTMLResponse(page, headers=PAGE_HEADERS)


@router.post(
    "/admin/compare",
    summary="Compare two bundles for a user",
    dependencies=[Limited],
    response_class=Response,
    responses={
        200: {"model": ComparedAnswers},
        **error_responses(
            "invalid_parameter",
            "unknown_bundle",
            "bundle_refused",
            "overloaded",
            "store_unavailable",
        ),
    },
)
async def compare(body: CompareRequest, runtime: CurrentRuntime, beside: CurrentBeside) -> Response:
    """Recommendations of the served bundle and of another one of the store to a user.

    The other is loaded beside the served one, if memory allows, and stays for ten minutes after its
    last use. It counts in no metric, and experiments do not apply.
    """
    longest = runtime.settings.max_id_length
    check_id(body.user_id, "user_id", longest)
    check_ids(body.exclude, "exclude", longest)
    other = await beside.engine(body.version)
    engine = runtime.engine
    mine, _, top = await engine.unmeasured.answer(body.user_id, body)
    theirs, _, others = await other.unmeasured.answer(body.user_id, body)
    served = engine.catalogue.item_ids(top.item_idx.tolist())
    both = {*served} & {*other.catalogue.item_ids(others.item_idx.tolist())}
    overlap = len(both) / len(served) if served else 1.0
    answer = b'{"served":%b,"other":%b,"overlap":%.6f}' % (mine, theirs, overlap)
    return Response(answer, media_type="application/json")


@router.post(
    "/admin/rollback",
    summary="Make another bundle live",
    responses=error_responses(
        "invalid_parameter", "unknown_bundle", "bundle_refused", "store_unavailable"
    ),
)
async def rollback(body: Rollback, reloader: CurrentReloader) -> ReloadResult:
    """Point the store to another of its bundles, after checking it, and serve it.

    Other workers and replicas follow at their next look.
    """
    store = reloader.store
    try:
        if not await asyncio.to_thread(store.storage.has, body.version):
            raise UnknownBundleError(body.version)
        before = await asyncio.to_thread(store.live_version)
        await asyncio.to_thread(store.rollback, body.version)
    except BundleError as error:
        LOGGER.error("rollback_refused", bundle_version=body.version, reason=str(error))
        raise BundleRefusedError(refusal(body.version, "damaged")) from error
    except StoreError as error:
        raise _unavailable(error) from error
    LOGGER.info("rolled_back", bundle_version=body.version, before=before)
    result = await reloader.look()
    if result.outcome == "refused":
        raise BundleRefusedError(result.reason or "refused")
    return ReloadResult(outcome=result.outcome, bundle_version=result.version)


def _stored(store: BundleStore, served: str) -> StoredBundles:
    versions = store.versions()[::-1][:NEWEST]
    reports = {name.rpartition("/")[2] for name in store.storage.names(REPORTS)}
    found = []
    for version in versions:
        with suppress(BundleError):
            manifest = store.manifest(version)
            bundle = StoredBundle(
                version=version,
                created_at=manifest.created_at.isoformat(),
                parent_version=manifest.parent_version,
                users=manifest.n_users,
                items=manifest.n_items,
                bytes=manifest.size,
                gate=manifest.gate,
                has_report=f"{version}.json" in reports,
            )
            found.append(bundle)
    return StoredBundles(live_version=store.live_version(), served_version=served, bundles=found)


async def _report(store: BundleStore, version: str, kind: str) -> bytes:
    if VERSION.fullmatch(version) is None:
        raise UnknownBundleError(version)
    try:
        found = await asyncio.to_thread(store.storage.read, f"{REPORTS}/{version}.{kind}")
    except StoreError as error:
        raise _unavailable(error) from error
    if found is None:
        raise UnknownBundleError(version)
    return found


def _unavailable(error: StoreError) -> StoreUnavailableError:
    """The reason, which has paths of the server, is in the log."""
    LOGGER.warning("store_failed", reason=str(error))
    return StoreUnavailableError("the store cannot be read or written, or is locked")
