"""What the SQLite file does beside the contract."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from states import event, new, sqlite_place

from bundle.events import SCHEMA


@pytest.mark.parametrize("table", ["once", "pages"])
def test_what_has_expired_is_found_by_an_index(table: str) -> None:
    """It is removed with every write: to look through a week's keys would take longer each day."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        query = f"EXPLAIN QUERY PLAN DELETE FROM {table} WHERE expires < 5"
        plan = str(connection.execute(query).fetchall())
    assert "INDEX" in plan
    assert "SCAN" not in plan


def test_a_write_that_fails_leaves_the_way_to_the_next_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with sqlite_place(tmp_path).open() as state:
            with pytest.raises(UnicodeEncodeError):
                await state.add_events(new([event("user-1", "fine"), event("user-1", "\ud800")]))
            await state.add_events(new([event("user-1", "item-2")]))
            assert [e.item_id for e in (await state.user("user-1")).events] == ["item-2"]

    asyncio.run(run())
