"""The SQLite state: queries, errors of writes, locks, and files that are none or go away."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from bundle.events.keys import SCHEMA
from service.observability.metrics import Metrics
from service.settings import Settings
from service.state import sqlite_file
from service.state.base import StateError
from service.state.sqlite import LocalState
from tests.support.running.states import StateBackend, event, new, sqlite_backend
from tests.support.waiting import until

PATIENT = 60.0
"""Time limit of a write that a busy machine does not reach, s."""


@pytest.mark.parametrize("table", ["once", "pages", "pages_of_users"])
def test_expired_rows_are_found_by_an_index(table: str) -> None:
    """Writes wait while they are removed, which must not scan the keys of a week."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        query = f"EXPLAIN QUERY PLAN DELETE FROM {table} WHERE expires < 5"
        plan = str(connection.execute(query).fetchall())
    assert "INDEX" in plan
    assert "SCAN" not in plan


def test_after_a_write_that_fails_the_next_one_succeeds(tmp_path: Path) -> None:
    async def run() -> None:
        async with sqlite_backend(tmp_path).open() as state:
            with pytest.raises(StateError, match="UnicodeEncodeError"):
                await state.add_events(new([event("user-1", "fine"), event("user-1", "\ud800")]))
            await state.add_events(new([event("user-1", "item-2")]))
            assert [e.item_id for e in (await state.user("user-1")).events] == ["item-2"]

    asyncio.run(run())


@pytest.mark.parametrize("odd", [event("user-1", "\ud800"), event("user-1", None)])  # type: ignore[arg-type]
def test_a_write_that_fails_fails_no_other_of_its_transaction(tmp_path: Path, odd: object) -> None:
    async def run() -> None:
        async with sqlite_backend(tmp_path).open() as state:
            events = [event("user-1", "item-1"), odd, event("user-1", "item-2")]
            results = await asyncio.gather(
                *(state.add_events(new([one])) for one in events),  # type: ignore[list-item]
                return_exceptions=True,
            )
            assert (results[0], results[2]) == ([True], [True])
            assert isinstance(results[1], StateError)

    asyncio.run(run())
    log = StateBackend(Settings(store="unused", state=tmp_path / "state.sqlite3")).log()
    assert [one.item_id for one in log] == ["item-1", "item-2"]


def test_damage_stays_known_while_other_pages_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def run() -> None:
        async with LocalState(path, Metrics(), PATIENT) as state:
            for user in "user-1", "user-2":
                await state.add_events(new([event(user, f"{user}-{n:0500}") for n in range(100)]))
        pages = bytearray(path.read_bytes())
        for start in range(0, len(pages), 4096):
            if b"user-1-000" in pages[start : start + 4096]:
                pages[start : start + 100] = bytes(range(100))
        path.write_bytes(pages)
        async with LocalState(path, Metrics(), PATIENT) as state:
            assert not (await state.user("nobody")).events
            assert not state.degraded
            with pytest.raises(StateError, match="malformed"):
                await state.user("user-1")
            assert not (await state.user("nobody")).events
            assert state.degraded

    asyncio.run(run())


def locked(path: Path) -> sqlite3.Connection:
    """A connection of another program that holds the lock for writing."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_a_write_ends_within_its_time_limit_while_the_file_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def run() -> None:
        async with LocalState(path, Metrics(), 0.2) as state:
            await state.add_events(new([event("user-1", "first")]))
            with closing(locked(path)) as other:
                for _ in range(3):
                    with pytest.raises(StateError):
                        await state.add_events(new([event("user-1", "second")]))
                assert state.refuses_writes
                assert not state.degraded
                assert len((await state.user("user-1")).events) == 1
                other.execute("ROLLBACK")

            async def written() -> bool:
                with suppress(StateError):  # a busy machine may take longer than 0.2 s
                    await state.add_events(new([event("user-1", "third")]))
                return not state.refuses_writes

            await until(written, "a write")

    asyncio.run(run())


def test_the_start_waits_for_another_process_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "state"
    LocalState(path, Metrics(), PATIENT).close()
    opened: list[LocalState] = []
    with closing(locked(path)) as other:
        thread = threading.Thread(target=lambda: opened.append(LocalState(path, Metrics(), 0.01)))
        thread.start()
        thread.join(1.5)  # longer than SQLite's default, and than a write may wait here
        assert thread.is_alive()
        other.execute("ROLLBACK")
        thread.join()
    opened[0].close()


def test_a_lock_that_is_held_too_long_at_the_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    LocalState(path, Metrics(), PATIENT).close()
    monkeypatch.setattr(sqlite_file, "START_SECONDS", 0.05)
    with (
        closing(locked(path)),
        pytest.raises(StateError, match=r"cannot be used as the state \(database is locked\)"),
    ):
        LocalState(path, Metrics(), PATIENT)


def with_tables_of(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.touch, "it is empty"),
        (lambda path: path.write_bytes(b"\0" * 8192), "not a database"),
        (lambda path: path.write_bytes(b"no database" * 1000), "not a database"),
        (lambda path: with_tables_of(path, "CREATE TABLE cookies (name)"), "another program's"),
        (lambda path: with_tables_of(path, "PRAGMA journal_mode = WAL"), "it is empty"),
        (Path.mkdir, "unable to open"),
    ],
    ids=["empty", "zeros", "text", "another program's", "no tables", "directory"],
)
def test_what_is_no_state_is_refused_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "state"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StateError, match=reason) as refused:
        LocalState(path, Metrics(), PATIENT)
    assert str(refused.value).startswith(f"{path}: cannot be used as the state")
    assert "\n" not in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_state_that_is_made_is_whole_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it makes one leaves none that lacks tables."""

    def killed(_: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_file, "_add_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            LocalState(tmp_path / "state", Metrics(), PATIENT)
    assert not (tmp_path / "state").exists()
    states = [LocalState(tmp_path / "state", Metrics(), PATIENT) for _ in range(2)]
    assert {path.name for path in tmp_path.iterdir()} == {"state", "state-wal", "state-shm"}
    for state in states:
        state.close()


@pytest.mark.parametrize("gone", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_no_event_is_acknowledged_into_a_file_that_is_gone(
    tmp_path: Path, gone: str, replaced: bool
) -> None:
    path = tmp_path / "state"

    def take_away(file: Path) -> None:
        if replaced:
            Path(shutil.copy(file, tmp_path / "copy")).replace(file)
        else:
            file.unlink()

    async def run() -> None:
        async with LocalState(path, Metrics(), PATIENT) as state:
            await state.add_events(new([event("user-1", "first")]))
            assert not state.refuses_writes
            take_away(Path(f"{path}{gone}"))
            for write in (
                state.add_events(new([event("user-1", "second")])),
                state.erase_user("user-1"),
            ):
                with pytest.raises(StateError, match="deleted or replaced"):
                    await write
            assert state.refuses_writes

    asyncio.run(run())


def test_a_state_behind_a_link_is_the_one_that_the_link_names(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path = tmp_path / "here"
    path.symlink_to(tmp_path / "there" / "state")
    LocalState(tmp_path / "there" / "state", Metrics(), PATIENT).close()

    async def run() -> None:
        async with LocalState(path, Metrics(), PATIENT) as state:
            await state.add_events(new([event("user-1", "first")]))

    asyncio.run(run())
