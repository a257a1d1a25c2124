"""Process-wide runtime: settings, metrics, connections, and the engine that currently serves.

A reload replaces `Runtime.engine`; a request reads it once.
"""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bundle.search.experiment import Arm, Experiment, why_unfit
from service.engine.engine import Engine
from service.engine.outcomes import OutcomeRecorder
from service.engine.shadow import Shadow
from service.limiter import ConcurrencyLimiter
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.settings import Settings
from service.state.base import State
from service.state.change_feed import ChangeFeed

if TYPE_CHECKING:
    from service.engine.content import ContentEncoders
    from service.redis.batched_reader import BatchedReader


@dataclass
class Runtime:
    """The parts of the service that live as long as the process.

    Attributes:
        settings: the configuration.
        metrics: of the process.
        limiter: limits requests in progress.
        threads: number of concurrent searches in threads, and of threads of ONNX Runtime.
        pool: threads for long searches.
        redis: the connection that requests read by, if Redis is configured.
        state: events and changes that outlive bundles.
        feed: changes of items and erased users.
        engine: the engine of the live bundle. Read it once per request: a reload replaces it.
        others: engines of an experiment's arms, of the shadow and of a comparison, by version.
        experiment: the running experiment, if any.
        shadow: compares responses with another bundle's, if configured.
        outcomes: attributes events to what was shown, if configured.
        content: extracts features from texts and images, if configured.
        suspended: names of the arms whose options do not fit their bundle; their users are in none.
    """

    settings: Settings
    metrics: Metrics
    limiter: ConcurrencyLimiter
    threads: int
    pool: ThreadPoolExecutor
    redis: "BatchedReader | None"
    state: State
    feed: ChangeFeed
    engine: Engine
    others: dict[str, Engine]
    experiment: Experiment | None
    shadow: Shadow | None
    outcomes: OutcomeRecorder | None
    content: "ContentEncoders | None"
    suspended: set[str] = field(default_factory=set)

    def arm(self, user_id: str) -> Arm | None:
        """The arm of a user, counted as an exposure."""
        arm = self.arm_of(user_id)
        if arm is not None:
            self.metrics.expose(arm.experiment, arm.name)
        return arm

    def arm_of(self, user_id: str) -> Arm | None:
        """The arm of a user; None for those in no arm, or in one that is suspended."""
        if self.experiment is None:
            return None
        arm = self.experiment.arm(user_id)
        return None if arm is None or arm.name in self.suspended else arm

    def check_arms(self) -> None:
        """Suspend the arms whose options do not fit the bundle that answers them, resume others.

        Users do not get errors for an experiment that they know nothing of, and an arm without its
        options would not be that arm.
        """
        for arm in self.experiment.arms if self.experiment else ():
            reason = why_unfit(arm, self.engine_of(arm).catalogue)
            self.metrics.arms_suspended.labels(arm.experiment, arm.name).set(reason is not None)
            if reason is not None:
                self.suspended.add(arm.name)
                LOGGER.error("arm_suspended", experiment=arm.experiment, reason=reason)
            elif arm.name in self.suspended:
                self.suspended.remove(arm.name)
                LOGGER.info("arm_resumed", experiment=arm.experiment, arm=arm.name)

    @property
    def shadow_engine(self) -> Engine:
        """The engine of the shadow's bundle, which counts in no metric but the shadow's own."""
        assert self.shadow is not None
        return self.others.get(self.shadow.version, self.engine).unmeasured

    def engine_of(self, arm: Arm | None) -> Engine:
        """The engine for the users of an arm, or for those in no arm."""
        if arm is None or arm.bundle_version is None:
            return self.engine
        return self.others.get(arm.bundle_version, self.engine)

    def recent_users(self, n: int) -> list[str]:
        """At most n users whose vectors were used recently."""
        return self.engine.profiles.vectors.recent(n)

    async def replace(self, engine: Engine) -> None:
        """Serve another bundle from now on, with the items as they are now."""
        async with self.feed.paused():
            self.engine = await self._with_changes(engine, self.feed.changed)
            self.check_arms()
        self._count_items()
        manifest = engine.bundle.manifest
        self.metrics.set_bundle(engine.bundle.version, manifest.index.kind, manifest.created_at)
        self.metrics.swaps.inc()

    async def add(self, engine: Engine) -> None:
        """Serve a bundle beside the live one, with the items as they are now."""
        async with self.feed.paused():
            engine = await self._with_changes(engine, self.feed.changed)
            self.others[engine.bundle.version] = engine

    async def apply(self, items: Collection[str], users: Collection[str]) -> None:
        """Take in changed items and forget erased users; the change feed calls it."""
        for engine in (self.engine, *self.others.values()):
            for user_id in users:
                engine.profiles.forget(user_id)
        if not items:
            return
        for version, other in [*self.others.items()]:
            changed = await self._with_changes(other, items)
            if version in self.others:  # a comparison may have ended
                self.others[version] = changed
        self.engine = await self._with_changes(self.engine, items)
        self._count_items()

    def _count_items(self) -> None:
        overlay = self.engine.catalogue.overlay
        self.metrics.items_live.labels("new_vector").set(len(overlay.added))
        self.metrics.items_live.labels("hidden").set(len(overlay.hidden))
        self.metrics.items_live.labels("unfit").set(len(self.engine.item_overlays.unfit))

    async def _with_changes(self, engine: Engine, items: Collection[str]) -> Engine:
        changes = self.feed.changes(engine.bundle)

        def changed() -> Engine:
            return engine.with_overlay(engine.item_overlays.overlay(changes, items))

        return await asyncio.to_thread(changed)  # slow with thousands; nothing else changes them
