"""Fixtures with a running service, Redis or state, loaded as a plugin by `conftest.py`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.format.writer import BundleContents
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.item_changes import contents_with_columns
from tests.support.reference.reference_model import ReferenceModel, Replicas
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.states import RunningCluster, StateBackend, redis_backend, sqlite_backend

UNUSUAL_IDS = [
    "a/b",
    "/leading/and/trailing/",
    "with space",
    "100%",
    "%2F",
    "q?x=1&y=2#z",
    "a/../b",
    "plus+plus",
    "日本語-ü-🙂",
    'quote"back\\slash',
    "line\nbreak\n",
    "semi;colon,comma",
]
"""Ids that need care in a URL."""
_NAMESPACES = count()


@dataclass(frozen=True)
class Published:
    """A store with one bundle, and its contents."""

    store: Path
    contents: BundleContents
    version: str

    @property
    def known(self) -> list[str]:
        """Ids of the users with a vector."""
        has_vector = np.any(self.contents.user_vectors, axis=1)
        return [u for u, has in zip(self.contents.users.ids, has_vector, strict=True) if has]

    def scores(self, user_id: str) -> NDArray[np.float32]:
        """The user's score of each item [I], computed by NumPy."""
        row = self.user_row(user_id)
        scores: NDArray[np.float32] = self.contents.item_vectors @ self.contents.user_vectors[row]
        return scores

    def user_row(self, user_id: str) -> int:
        """Row of a user in the bundle."""
        row = self.contents.users.get(user_id)
        assert row is not None
        return row

    def item_row(self, item_id: str) -> int:
        """Row of an item in the bundle."""
        row = self.contents.items.get(item_id)
        assert row is not None
        return row

    def check(self, answer: dict[str, Any], k: int = 20, exclude_seen: bool = True) -> None:
        """Check the items of an answer for a known user; equal scores may be in any order."""
        assert answer["source"] == "known_user"
        scores = self.scores(answer["user_id"]).astype(np.float64)
        row = self.user_row(answer["user_id"])
        allowed = np.ones(len(scores), np.bool_)
        if exclude_seen:
            allowed[self.contents.seen.row(row)] = False
        expected = np.sort(scores[allowed])[::-1][:k]
        found = [self.item_row(item["item_id"]) for item in answer["items"]]
        assert len(set(found)) == len(found) == len(expected)
        assert allowed[found].all()
        given = [item["score"] for item in answer["items"]]
        np.testing.assert_allclose(given, scores[found], atol=1e-5)
        np.testing.assert_allclose(given, expected, atol=1e-5)
        assert given == sorted(given, reverse=True)
        assert [item["rank"] for item in answer["items"]] == list(range(1, len(found) + 1))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    ids = [f"user-{u}" for u in range(40)] + UNUSUAL_IDS
    ids += [f"user-{u}" for u in range(len(ids), 500)]
    contents = make_contents(
        500, 300, 16, rng=np.random.default_rng(7), user_ids=ids, mean_history=12
    )
    store = tmp_path_factory.mktemp("store")
    return Published(store, contents, BundleStore(store).publish(contents))


StartService = Callable[..., RunningService]


def hung_service(
    start: StartService, redis_server: RunningRedis, redis_timeout: float = 60, **options: object
) -> RunningService:
    """A service whose requests wait for Redis until it is resumed, or for `redis_timeout` s."""
    service = start(
        redis_url=redis_server.url, redis_timeout=redis_timeout, vector_cache_size=0, **options
    )
    redis_server.hang()
    return service


@pytest.fixture(scope="session")
def log_paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("logs")
    return (directory / f"{number}.log" for number in count())


@pytest.fixture
def start(published: Published, log_paths: Iterator[Path]) -> Iterator[StartService]:
    """A function that starts services with options; they end with the test."""
    running: list[RunningService] = []

    def start_one(**options: Any) -> RunningService:
        store = options.pop("store", published.store)
        running.append(RunningService(store, next(log_paths), **options))
        return running[-1]

    yield start_one
    for one in running:
        one.close()


@pytest.fixture(scope="session")
def service(published: Published, log_paths: Iterator[Path]) -> Iterator[RunningService]:
    """One service without Redis, for all tests that change nothing in it."""
    running = RunningService(published.store, next(log_paths))
    yield running
    running.close()


@pytest.fixture
def redis_server() -> Iterator[RunningRedis]:
    running = RunningRedis()
    yield running
    running.close()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RunningRedis]:
    """One Redis for all tests that use a namespace of their own and do not stop it."""
    running = RunningRedis()
    yield running
    running.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One Redis Cluster, to be used like `shared_redis`."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.close()


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> StateBackend:
    """An empty state of each kind."""
    if request.param == "sqlite":
        return sqlite_backend(tmp_path)
    if request.param == "redis":
        return redis_backend(request.getfixturevalue("shared_redis").url)
    return redis_backend(request.getfixturevalue("cluster").url, cluster=True)


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a bundle whose items have columns of all types."""
    store = tmp_path_factory.mktemp("shop")
    users = [*(f"user-{n}" for n in range(20)), *UNUSUAL_IDS]
    users += [f"user-{n}" for n in range(len(users), 60)]
    BundleStore(store).publish(contents_with_columns(user_ids=users))
    return store


def new_reference(store: Path) -> ReferenceModel:
    """The reference model of a service on `shop_store` without events and changes."""
    bundle = BundleStore(store).load()
    return ReferenceModel(contents_with_columns(user_ids=bundle.users.ids), bundle.version)


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def replicas(
    request: pytest.FixtureRequest,
    shop_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
    log_paths: Iterator[Path],
) -> Iterator[Replicas]:
    """Two services with one state of each kind, for tests that keep the reference up to date.

    For one file: what the tests of another have changed must not decide whether these pass.
    """
    options: dict[str, Any] = {"state": tmp_path_factory.mktemp("state") / "state.sqlite3"}
    if request.param == "redis":
        server = request.getfixturevalue("shared_redis")
        namespace = f"replicas-{next(_NAMESPACES)}"
        options = {"redis_url": server.url, "redis_namespace": namespace}
    options["state_poll"] = 0.02
    services = [RunningService(shop_store, next(log_paths), **options) for _ in range(2)]
    yield Replicas(services, new_reference(shop_store))
    for service in services:
        service.close()
