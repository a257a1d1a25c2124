"""Columns of every type over HTTP: no request on them is a defect of the service."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.column_types import typed_columns, typed_table
from tests.support.running.service_fixtures import StartService

VALUES = ["5", "-0.5", "9007199254740993", "1e300", '"a"', '"2026-01-31"', '"10:00"', "true"]


@pytest.mark.slow
def test_columns_of_every_type_are_answered_or_refused(start: StartService, tmp_path: Path) -> None:
    contents = make_contents(30, 40, 8, rng=np.random.default_rng(0))
    table = typed_table(contents.items.ids)
    table = table.append_column("title", table["list_of_dates"])
    store = tmp_path / "typed"
    BundleStore(store).publish(replace(contents, item_table=table))
    service = start(store=store)
    statuses, columns = set(), typed_columns()
    for name in columns:
        for value in VALUES:
            for text in (f"{name} = {value}", f"{name} >= {value}", f"{name} in [{value}]"):
                answer = service.get("/recommend/user-1", filter=text, boost=f"1:{text}")
                statuses.add(answer.status_code)
        assert service.get("/recommend/user-1", filter=f"{name} is null").status_code == 200
    assert statuses == {200, 422}
    assert service.get("/similar/item-1").status_code == 200
    for row in range(10):
        shown = service.get(f"/items/item-{row}").json()["columns"]
        kept = {
            name: value
            for name, value in shown.items()
            if name in columns and columns[name].values is not None
            if not str(value).startswith("<")  # years after 9999
        }
        stored = service.client.put(f"/items/item-{row}", json={"columns": kept})
        assert stored.status_code == 200, stored.text
        changed = stored.json()["columns"]
        assert {name: changed[name] for name in kept} == kept
        assert service.get("/similar/item-1").status_code == 200
    assert not service.events("request_failed")
