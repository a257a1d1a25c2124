from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_builders import make_contents
from changed_items import shop
from numpy.typing import NDArray
from servers import RunningRedis, RunningService
from states import Place, RunningCluster, redis_place, sqlite_place
from world import Replicas, World

from bundle.contents import BundleContents
from bundle.store import BundleStore

STRANGE_IDS = [
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
_WORLDS = count()


@dataclass(frozen=True)
class Published:
    """A store with one bundle, and what went into it."""

    store: Path
    contents: BundleContents
    version: str

    @property
    def known(self) -> list[str]:
        """Ids of the users with a vector."""
        has_taste = np.any(self.contents.user_vectors, axis=1)
        return [u for u, taste in zip(self.contents.users.ids, has_taste, strict=True) if taste]

    def scores(self, user_id: str) -> NDArray[np.float32]:
        """The user's score of each item [I], by NumPy."""
        row = self.contents.users.get(user_id)
        assert row is not None
        return self.contents.item_vectors @ self.contents.user_vectors[row]

    def check(self, answer: dict[str, Any], k: int = 20, exclude_seen: bool = True) -> None:
        """An answer for a known user has the right items; ties may be in any order."""
        assert answer["source"] == "known_user"
        scores = self.scores(answer["user_id"]).astype(np.float64)
        row = self.contents.users.get(answer["user_id"])
        assert row is not None
        allowed = np.ones(len(scores), np.bool_)
        if exclude_seen:
            allowed[self.contents.seen.row(row)] = False
        expected = np.sort(scores[allowed])[::-1][:k]
        found = [self.contents.items.get(item["item_id"]) for item in answer["items"]]
        assert len(set(found)) == len(found) == len(expected)
        assert allowed[found].all()
        given = [item["score"] for item in answer["items"]]
        np.testing.assert_allclose(given, scores[found], atol=1e-5)
        np.testing.assert_allclose(given, expected, atol=1e-5)
        assert given == sorted(given, reverse=True)
        assert [item["rank"] for item in answer["items"]] == list(range(1, len(found) + 1))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    ids = [f"user-{u}" for u in range(40)] + STRANGE_IDS
    ids += [f"user-{u}" for u in range(len(ids), 500)]
    contents = make_contents(
        500, 300, 16, rng=np.random.default_rng(7), user_ids=ids, mean_history=12
    )
    store = tmp_path_factory.mktemp("store")
    return Published(store, contents, BundleStore(store).publish(contents))


StartService = Callable[..., RunningService]


@pytest.fixture(scope="session")
def log_paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("logs")
    return (directory / f"{number}.log" for number in count())


@pytest.fixture
def start(published: Published, log_paths: Iterator[Path]) -> Iterator[StartService]:
    """Starts services with options; they end with the test."""
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
    """One service without Redis for all tests that leave it as it is."""
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
    """For tests that have a namespace of their own and leave the process alone."""
    running = RunningRedis()
    yield running
    running.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """As `shared_redis`."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.close()


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty state of each kind."""
    if request.param == "sqlite":
        return sqlite_place(tmp_path)
    if request.param == "redis":
        return redis_place(request.getfixturevalue("shared_redis").url)
    return redis_place(request.getfixturevalue("cluster").url, cluster=True)


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a bundle whose items have columns of all kinds."""
    store = tmp_path_factory.mktemp("shop")
    users = [*(f"user-{n}" for n in range(20)), *STRANGE_IDS]
    users += [f"user-{n}" for n in range(len(users), 60)]
    BundleStore(store).publish(shop(user_ids=users))
    return store


def new_world(store: Path) -> World:
    """A shop where nothing has happened yet."""
    bundle = BundleStore(store).load()
    return World(shop(user_ids=bundle.users.ids), bundle.version)


@pytest.fixture(scope="session", params=["sqlite", "redis"])
def replicas(
    request: pytest.FixtureRequest,
    shop_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
    log_paths: Iterator[Path],
) -> Iterator[Replicas]:
    """Two services with one state of each kind, for all tests that keep the world up to date."""
    options: dict[str, Any] = {"state": tmp_path_factory.mktemp("state") / "state.sqlite3"}
    if request.param == "redis":
        server = request.getfixturevalue("shared_redis")
        # Each world begins with nothing. A machine busy for a moment is no failure of Redis.
        namespace = f"replicas-{next(_WORLDS)}"
        options = {"redis_url": server.url, "redis_namespace": namespace, "redis_timeout": 5}
    options["state_poll"] = 0.02
    services = [RunningService(shop_store, next(log_paths), **options) for _ in range(2)]
    yield Replicas(services, new_world(shop_store))
    for service in services:
        service.close()
