"""What lives as long as the process, and the reference to the bundle that is swapped."""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from service.errors import InvalidParameterError
from service.experiments import Arm, Experiment
from service.feed import Feed
from service.metrics import Metrics
from service.permits import Permits
from service.serving import Serving
from service.settings import Settings
from service.shadow import Shadow
from service.state import State

if TYPE_CHECKING:
    from service.content import ContentEncoders
    from service.redis_link import RedisLink


@dataclass
class Service:
    """What lives as long as the process.

    Attributes:
        settings: the configuration.
        metrics: its numbers.
        permits: for requests in work.
        threads: searches at a time in threads, and threads of ONNX Runtime.
        pool: threads for searches that take long.
        redis: the way to Redis, if one is configured.
        state: what outlives bundles.
        feed: its changes of items, and who was erased.
        serving: what requests are answered from. Read it once a request: a swap replaces it.
        others: bundles of an experiment's arms and the shadow's, by version.
        experiment: its arms, if there is one.
        shadow: compares answers with another bundle's, if there is one.
        content: makes features of texts and pictures, if it is configured.
    """

    settings: Settings
    metrics: Metrics
    permits: Permits
    threads: int
    pool: ThreadPoolExecutor
    redis: "RedisLink | None"
    state: State
    feed: Feed
    serving: Serving
    others: dict[str, Serving]
    experiment: Experiment | None
    shadow: Shadow | None
    content: "ContentEncoders | None"

    def arm(self, user_id: str) -> Arm | None:
        """The arm that a user is exposed to, counted."""
        if self.experiment is None:
            return None
        arm = self.experiment.arm(user_id)
        if arm is not None:
            self.metrics.expose(arm.experiment, arm.name)
        return arm

    @property
    def shadow_serving(self) -> Serving:
        """What the shadow answers from."""
        assert self.shadow is not None
        return self.others.get(self.shadow.version, self.serving)

    def serving_of(self, arm: Arm | None) -> Serving:
        """What answers the users of an arm, or those in none."""
        if arm is None or arm.bundle_version is None:
            return self.serving
        return self.others.get(arm.bundle_version, self.serving)

    def recent_users(self, n: int) -> list[str]:
        """Some users that were asked for not long ago."""
        return self.serving.tastes.vectors.recent(n)

    async def replace(self, serving: Serving) -> None:
        """Serve another bundle from now on, with the items as they are now."""
        async with self.feed.paused():
            self.serving = await self._with_changes(serving, self.feed.changed)
        manifest = serving.bundle.manifest
        self.metrics.set_bundle(serving.bundle.version, manifest.index.kind, manifest.created_at)
        self.metrics.swaps.inc()

    async def apply(self, items: Collection[str], users: Collection[str]) -> None:
        """Serve items as they are now, and forget users; the feed calls it."""
        for serving in (self.serving, *self.others.values()):
            for user_id in users:
                serving.tastes.forget(user_id)
        if not items:
            return
        for version, other in self.others.items():
            self.others[version] = await self._with_changes(other, items)
        self.serving = await self._with_changes(self.serving, items)
        overlay = self.serving.catalogue.overlay
        self.metrics.items_live.labels("new_vector").set(len(overlay.added))
        self.metrics.items_live.labels("hidden").set(len(overlay.hidden))

    async def _with_changes(self, serving: Serving, items: Collection[str]) -> Serving:
        changes = self.feed.changes(serving.bundle)
        # With thousands of changes this takes long; nobody else changes them meanwhile.
        overlay = await asyncio.to_thread(serving.live_items.overlay, changes, items)
        return serving.with_overlay(overlay)

    def check_id(self, identifier: str, name: str) -> None:
        """Refuse an id that can be no user's or item's.

        Args:
            identifier: the id.
            name: of the parameter.

        Raises:
            InvalidParameterError: it is empty or too long.
        """
        if not identifier:
            raise InvalidParameterError(f"{name}: must not be empty", name)
        longest = self.settings.max_id_length
        if len(identifier) > longest:
            raise InvalidParameterError(f"{name}: has more than {longest} characters", name)


async def current_service(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


async def current_serving(request: Request) -> Serving:
    """What it is answered from; the reference is read here and once."""
    return (await current_service(request)).serving


CurrentService = Annotated[Service, Depends(current_service)]
CurrentServing = Annotated[Serving, Depends(current_serving)]
