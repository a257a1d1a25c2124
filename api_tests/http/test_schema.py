"""Generated requests, valid and invalid by the schema: the answers conform to it.

`DREPMREC_SCHEMA_CASES=500` makes so many for each endpoint; CI makes a few.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bundle.ids import IdMap
from bundle.store.store import BundleStore
from service.openapi import openapi_text
from tests.support.data.bundles import make_contents
from tests.support.running.servers import RunningService

CASES = int(os.environ.get("DREPMREC_SCHEMA_CASES", "5"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_file(openapi_text())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose bundle has the users, items, columns and modalities of the examples."""
    directory = tmp_path_factory.mktemp("schema")
    users = ["u-1042", "u-7", *(f"user-{n}" for n in range(58))]
    items = ["i-77", "i-3", "i-9", "i-12", "i-4711", *(f"item-{n}" for n in range(195))]
    widths = {"image": 2, "text": 2}
    rng = np.random.default_rng(11)
    contents = make_contents(60, 200, 12, rng=rng, user_ids=users, modalities=widths)
    table = pa.table(
        {
            "item_id": items,
            "title": [None if n % 7 == 3 else f"Item {n}" for n in range(200)],
            "category": [("shoes", "kitchen")[n % 2] for n in range(200)],
            "price": [float(n % 60) for n in range(200)],
        }
    )
    made = replace(contents, items=IdMap(items, "item_id"), item_table=table)
    BundleStore(directory / "store").publish(made)
    service = RunningService(directory / "store", directory / "log", max_body=100_000)
    yield service.url
    assert not service.events("request_failed")
    service.close()


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=CASES <= 5,
    suppress_health_check=list(HealthCheck),
)
def test_answers_conform_to_the_schema(case: Any, url: str) -> None:
    case.call_and_validate(base_url=url, checks=CHECKS)
