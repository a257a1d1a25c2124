"""Batched reader: the connection of requests to Redis, isolated from its failures.

- A request never holds a connection: it puts a key into a queue and waits for a future, for
  `timeout` at most. Reader tasks take all waiting keys and read them with one MGET, so that a round
  trip is shared and a cancelled request leaves no unread reply behind.
- A connection with any error, timeouts included, is closed and never reused.
- After several failures in a row a circuit breaker opens; a probe in the background, on which no
  request waits, closes it when Redis is back.
- Writes wait in a bounded queue off the request path and are dropped when it is full.
- A Redis may answer and take no writes (a replica, out of memory): commands that would write and
  change nothing, one for each hash tag of the state, tell every few seconds.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol, TypeVar, cast

from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bundle.events.keys import Keys
from service.observability.background import BackgroundLoop
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.redis.breaker import CircuitBreaker, State
from service.redis.client import Client, Slots, close_client, drop_connections, open_client
from service.redis.errors import FailureKind, RedisCallError
from service.redis.timeouts import call_patiently
from service.settings import Settings

Result = TypeVar("Result")

MAX_BATCH = 100
"""Maximum number of keys of one MGET or pipeline: 50 KB of vectors with 128 columns."""
BREAKER_NUMBERS: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
"""Values of the metric of the breaker's state."""
BACKGROUND_CONNECTIONS = 3
"""Number of connections besides the readers: one for writes, one for each kind of probe."""


_Command = tuple[str | bytes | float, ...]


class _Pipeline(Protocol):
    def execute_command(self, *command: str | bytes | float) -> object: ...
    async def execute(self, raise_on_error: bool) -> list[Any]: ...


class BatchedReader:
    """Reads and writes of bytes in Redis, for all requests of a process; `async with` it.

    Args:
        settings: URL, timeouts, sizes and limits.
        metrics: count failures.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._timeout = settings.redis_timeout
        self._reset = settings.breaker_reset
        self._max_readers = settings.redis_pool_size
        self._probes = Keys(settings.redis_namespace).probes
        self._metrics = metrics
        self._client: Client = open_client(
            settings, self._timeout, self._max_readers + BACKGROUND_CONNECTIONS
        )
        self._slots = Slots(self._client)
        self._breaker = CircuitBreaker(settings.breaker_failures, self._breaker_changed)
        self._opened = asyncio.Event()
        self._waiting: deque[tuple[bytes, asyncio.Future[object]]] = deque()
        self._readers: set[asyncio.Task[None]] = set()
        self._reading = 0
        self._writes: deque[_Command] = deque()
        self._max_writes = settings.redis_write_queue
        self._to_write = asyncio.Event()
        self._background: list[BackgroundLoop] = []
        self._reason = ""
        self.refuses_writes = False
        """True if Redis answered, and took no writes, when that was last tried."""

    @property
    def degraded(self) -> bool:
        """True while the circuit breaker keeps calls from Redis."""
        return self._breaker.state != "closed"

    async def __aenter__(self) -> "BatchedReader":
        """Start the background tasks and call Redis once; it is no error if it is down."""
        self._background = [
            BackgroundLoop("redis_probe", self._probe_when_open, self._metrics),
            BackgroundLoop("redis_writes", self._write_batch, self._metrics),
            BackgroundLoop("redis_write_probe", self._try_writes, self._metrics, self._reset),
        ]
        self._breaker.probe()
        await self._probe()
        await self._try_writes()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the tasks and close the connections; waiting writes are dropped."""
        for loop in self._background:
            await loop.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self._slots.close()
        with contextlib.suppress(RedisError, OSError):
            await close_client(self._client)

    async def get(self, key: bytes) -> object:
        """The value of a key; None if there is none.

        Raises:
            RedisCallError: Redis did not answer within the timeout.
        """
        if self.degraded:
            raise RedisCallError("circuit_open")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._waiting.append((key, future))
        # If other keys were waiting, a reader is about to start, or all readers are busy.
        alone = len(self._waiting) == 1 and self._reading < self._max_readers
        if alone or not self._reading:
            self._reading += 1
            reader = loop.create_task(self._read())
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        timer = call_patiently(loop, self._timeout, _fail, future, "timeout")
        try:
            return await future
        finally:
            timer.cancel()

    def write(self, *command: str | bytes | float) -> bool:
        """Write soon, after all earlier writes; False if it is dropped, as the queue is full."""
        if self.degraded or len(self._writes) >= self._max_writes:
            self._metrics.redis_writes.labels("dropped").inc()
            return False
        self._writes.append(command)
        self._to_write.set()
        return True

    async def _read(self) -> None:
        try:
            await self._read_waiting()
        finally:
            # Not in a done callback: until it ran, a new look-up would rely on this reader.
            self._reading -= 1

    async def _read_waiting(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), MAX_BATCH)
            batch = [self._waiting.popleft() for _ in range(size)]
            batch = [(key, future) for key, future in batch if not future.done()]
            if not batch:
                continue
            try:
                values = await self._attempt(self._get_many([key for key, _ in batch]))
            except RedisCallError as failure:
                for _, future in batch:
                    _fail(future, failure.kind)
                continue
            for (_, future), value in zip(batch, values, strict=True):
                if not future.done():
                    future.set_result(value)

    async def _get_many(self, keys: list[bytes]) -> list[object]:
        values: object
        if isinstance(self._client, RedisCluster):
            values = await self._client.mget_nonatomic(keys)
        else:
            values = await self._client.mget(keys)
        if not isinstance(values, list) or len(values) != len(keys):
            # A reply to another command; the connections may have more of them.
            await drop_connections(self._client)
            raise RedisError("not a reply to MGET")
        return values

    async def _write_batch(self) -> None:
        await self._to_write.wait()
        size = min(len(self._writes), MAX_BATCH)
        batch = [self._writes.popleft() for _ in range(size)]
        if not self._writes:
            self._to_write.clear()
        try:
            refused = len(await self._refusals(batch))
        except RedisCallError:
            refused = size
        self._metrics.redis_writes.labels("failed").inc(refused)
        self._metrics.redis_writes.labels("written").inc(size - refused)

    async def _refusals(self, commands: Iterable[_Command]) -> list[Exception]:
        # redis-py's type hints of the pipeline are those of the blocking client.
        pipeline = cast("_Pipeline", self._client.pipeline(transaction=False))
        for command in commands:
            pipeline.execute_command(*command)
        replies = await self._attempt(pipeline.execute(raise_on_error=False))
        refusals = [reply for reply in replies if isinstance(reply, Exception)]
        if any(isinstance(reply, RedisConnectionError | RedisTimeoutError) for reply in refusals):
            self._slots.doubt()  # of a cluster, one node's commands fail alone
        return refusals

    async def _try_writes(self) -> None:
        if self.degraded:
            return
        with contextlib.suppress(RedisCallError):
            refusals = await self._refusals(("SETRANGE", key, 0, b"") for key in self._probes)
            if self.refuses_writes != bool(refusals):
                self.refuses_writes = bool(refusals)
                self._show_degraded()
                if refusals:
                    LOGGER.warning("redis_refuses_writes", reason=str(refusals[0]))
                else:
                    LOGGER.info("redis_takes_writes")

    async def _probe_when_open(self) -> None:
        await self._opened.wait()
        await asyncio.sleep(self._reset)
        self._breaker.probe()
        await self._probe()

    async def _probe(self) -> None:
        with contextlib.suppress(RedisCallError):
            await self._attempt(self._get_many(self._probes[:1]))

    async def _attempt(self, operation: Awaitable[Result]) -> Result:
        """Wait for an operation of the client and report its result to the breaker."""
        try:
            result = await operation
        except RedisTimeoutError:
            raise self._failed("timeout", "timeout") from None
        except (RedisConnectionError, OSError) as error:
            raise self._failed("connection", str(error)) from None
        # Parsers raise errors of many kinds if the peer is not Redis. Their texts repeat keys.
        except Exception as error:
            raise self._failed("reply", type(error).__name__) from None
        self._breaker.success()
        return result

    def _failed(self, kind: FailureKind, reason: str) -> RedisCallError:
        self._reason = reason
        self._slots.doubt()
        self._metrics.redis_errors.labels(kind).inc()
        self._breaker.failure()
        return RedisCallError(kind)

    def _show_degraded(self) -> None:
        self._metrics.degraded.set(self.degraded or self.refuses_writes)

    def _breaker_changed(self, state: State) -> None:
        self._metrics.breaker_state.set(BREAKER_NUMBERS[state])
        self._show_degraded()
        if state == "open":
            self._opened.set()
            while self._waiting:
                _fail(self._waiting.popleft()[1], "circuit_open")
            LOGGER.warning("redis_left_alone", reason=self._reason, retry_seconds=self._reset)
        elif state == "closed":
            self._opened.clear()
            LOGGER.info("redis_in_use")


def _fail(future: asyncio.Future[object], kind: FailureKind) -> None:
    if not future.done():
        future.set_exception(RedisCallError(kind))
