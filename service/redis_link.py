"""The way to Redis, built so that nothing that Redis does can hurt a request.

- A request never holds a connection: it puts a key into a queue and waits for a future, for
  `timeout` at most. Tasks of the link take what has come together and read it with one MGET, so
  that a round trip is shared, and a request that goes away leaves no unread reply behind.
- A connection on which anything went wrong (time-out included) is closed, never reused.
- After several failures in a row Redis is left alone; a probe in the background, on which no
  request waits, finds out when it is back.
- Writes wait in a bounded queue off the request path and are dropped when it is full.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar, cast

from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.breaker import Breaker, State
from service.logs import LOGGER
from service.metrics import Metrics
from service.redis_client import Client, close_client, open_client
from service.settings import Settings
from service.vector_cache import CacheError, FailureKind

Result = TypeVar("Result")

MAX_BATCH = 100
"""Keys of one MGET or pipeline: 50 KB of vectors with 128 columns."""
BREAKER_NUMBERS: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
BACKGROUND_CONNECTIONS = 2  # the writer's and the probe's


class _Pipeline(Protocol):
    def set(self, name: bytes, value: bytes, ex: int) -> object: ...
    async def execute(self, raise_on_error: bool) -> list[Any]: ...


class RedisLink:
    """Gets and sets bytes in Redis. Lives as long as the process; `async with` it.

    Args:
        settings: URL, time-outs, sizes and limits.
        metrics: where failures are counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._timeout = settings.redis_timeout
        self._reset = settings.breaker_reset
        self._max_readers = settings.redis_pool_size
        self._probe_key = f"drepmrec:{settings.redis_namespace}:probe".encode()
        self._metrics = metrics
        self._client: Client = open_client(
            settings, self._timeout, self._max_readers + BACKGROUND_CONNECTIONS
        )
        self._breaker = Breaker(settings.breaker_failures, self._breaker_changed)
        self._opened = asyncio.Event()
        self._waiting: deque[tuple[bytes, asyncio.Future[object]]] = deque()
        self._readers: set[asyncio.Task[None]] = set()
        self._reading = 0
        self._writes: deque[tuple[bytes, bytes, int]] = deque()
        self._max_writes = settings.redis_write_queue
        self._to_write = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._closing = False

    @property
    def degraded(self) -> bool:
        """Whether Redis is left alone at the moment."""
        return self._breaker.state != "closed"

    async def __aenter__(self) -> "RedisLink":
        """Start the background tasks and try once; a Redis that is not there is no error."""
        self._background = [
            asyncio.create_task(self._keep_probing()),
            asyncio.create_task(self._keep_writing()),
        ]
        self._breaker.probe()
        await self._probe()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the tasks and close the connections; writes that wait are given up."""
        # A flag besides: before Python 3.12 a cancellation can get lost in `asyncio.wait_for`.
        self._closing = True
        tasks = [*self._background, *self._readers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await close_client(self._client)

    async def get(self, key: bytes) -> object:
        """What Redis has under a key, None if nothing.

        Raises:
            CacheError: it did not say so within the time-out.
        """
        if self.degraded:
            raise CacheError("left_alone")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._waiting.append((key, future))
        # If others were waiting already, a reader is about to start or all of them are busy.
        if len(self._waiting) == 1 and self._reading < self._max_readers:
            self._reading += 1
            reader = loop.create_task(self._read())
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        timer = loop.call_later(self._timeout, _fail, future, "timeout")
        try:
            return await future
        finally:
            timer.cancel()

    def put(self, key: bytes, value: bytes, ttl: int) -> None:
        """Write soon, to live for so many seconds; dropped if the queue is full."""
        if self.degraded or len(self._writes) >= self._max_writes:
            self._metrics.redis_writes.labels("dropped").inc()
            return
        self._writes.append((key, value, ttl))
        self._to_write.set()

    async def delete(self, key: bytes) -> None:
        """Delete a key, and give up writing it.

        Raises:
            CacheError: Redis did not say that it did.
        """
        self._writes = deque(write for write in self._writes if write[0] != key)
        await asyncio.shield(asyncio.ensure_future(self._attempt(self._client.delete(key))))

    async def _read(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), MAX_BATCH)
            batch = [self._waiting.popleft() for _ in range(size)]
            batch = [(key, future) for key, future in batch if not future.done()]
            if not batch:
                continue
            try:
                values = await self._attempt(self._get_many([key for key, _ in batch]))
            except CacheError as failure:
                for _, future in batch:
                    _fail(future, failure.kind)
                continue
            for (_, future), value in zip(batch, values, strict=True):
                if not future.done():
                    future.set_result(value)
        # Not in a done callback: until that ran, a new look-up would count on this reader.
        self._reading -= 1

    async def _get_many(self, keys: list[bytes]) -> list[object]:
        values: object
        if isinstance(self._client, RedisCluster):
            values = await self._client.mget_nonatomic(keys)
        else:
            values = await self._client.mget(keys)
        if not isinstance(values, list) or len(values) != len(keys):
            # Somebody else's reply: what follows on these connections may be, too.
            await self._drop_connections()
            raise RedisError("not a reply to MGET")
        return values

    async def _drop_connections(self) -> None:
        if isinstance(self._client, RedisCluster):
            await self._client.aclose()
        else:
            await self._client.connection_pool.disconnect()

    async def _keep_writing(self) -> None:
        while not self._closing:
            await self._to_write.wait()
            self._to_write.clear()
            while self._writes and not self._closing:
                size = min(len(self._writes), MAX_BATCH)
                batch = [self._writes.popleft() for _ in range(size)]
                # redis-py annotates its pipeline for the blocking client, too.
                pipeline = cast("_Pipeline", self._client.pipeline(transaction=False))
                for key, value, ttl in batch:
                    pipeline.set(key, value, ex=ttl)
                try:
                    replies = await self._attempt(pipeline.execute(raise_on_error=False))
                    refused = sum(isinstance(reply, Exception) for reply in replies)
                except CacheError:
                    refused = len(batch)
                self._metrics.redis_writes.labels("failed").inc(refused)
                self._metrics.redis_writes.labels("written").inc(len(batch) - refused)

    async def _keep_probing(self) -> None:
        while not self._closing:
            await self._opened.wait()
            await asyncio.sleep(self._reset)
            self._breaker.probe()
            await self._probe()

    async def _probe(self) -> None:
        with contextlib.suppress(CacheError):
            await self._attempt(self._get_many([self._probe_key]))

    async def _attempt(self, operation: Awaitable[Result]) -> Result:
        """Wait for an operation of the client and tell the breaker how it went."""
        try:
            result = await operation
        except RedisTimeoutError:
            raise self._failed("timeout") from None
        except (RedisConnectionError, OSError):
            raise self._failed("connection") from None
        # Parsers raise many things when what they read is not Redis; no request may feel it.
        except Exception:
            raise self._failed("reply") from None
        self._breaker.success()
        return result

    def _failed(self, kind: FailureKind) -> CacheError:
        self._metrics.redis_errors.labels(kind).inc()
        self._breaker.failure()
        return CacheError(kind)

    def _breaker_changed(self, state: State) -> None:
        self._metrics.breaker_state.set(BREAKER_NUMBERS[state])
        self._metrics.degraded.set(state != "closed")
        if state == "open":
            self._opened.set()
            while self._waiting:
                _fail(self._waiting.popleft()[1], "left_alone")
            LOGGER.warning("redis_left_alone", retry_seconds=self._reset)
        elif state == "closed":
            self._opened.clear()
            LOGGER.info("redis_in_use")


def _fail(future: asyncio.Future[object], kind: FailureKind) -> None:
    if not future.done():
        future.set_exception(CacheError(kind))
