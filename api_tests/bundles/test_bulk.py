"""Bulk recommendations are the answers of the API."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from tests.support.cli import training
from tests.support.running.service_fixtures import Published, StartService

OPTIONS: list[dict[str, Any]] = [
    {},
    {"diversity": 0.4},
    {"weights": "image:2,behaviour:0.5"},
    {"filter": 'category != "category-3"', "boost": ['0.2:category = "category-1"']},
    {"exclude_seen": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_bulk_recommendations_are_the_answers_of_the_api(
    options: dict[str, Any], start: StartService, published: Published, tmp_path: Path
) -> None:
    (tmp_path / "options.json").write_text(json.dumps(options))
    training(
        *("recommend", "--store", published.store, "--out", tmp_path / "out", "--k", "9"),
        *("--options", tmp_path / "options.json"),
    )
    table = pq.read_table(tmp_path / "out/blocks").to_pylist()
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table:
        found[row["user_id"]].append(row)
    service = start()
    some = [*published.contents.users.ids[::25], published.contents.users.ids[-1]]
    for user_id in some:
        response = service.get(f"/recommend/{quote(user_id, safe='')}", k=9, **options)
        assert response.status_code == 200, response.text
        answer, rows = response.json(), found[user_id]
        assert [row["item_id"] for row in rows] == [item["item_id"] for item in answer["items"]]
        assert [row["rank"] for row in rows] == [item["rank"] for item in answer["items"]]
        assert [row["score"] for row in rows] == pytest.approx(
            [item["score"] for item in answer["items"]], abs=1e-5
        )
        assert {row["source"] for row in rows} <= {answer["source"]}
        assert {row["bundle_version"] for row in rows} <= {answer["bundle_version"]}
