"""A key file that changes while the service runs."""

from pathlib import Path

import httpx
import pytest

from tests.support.running.api_keys import authorization, entries
from tests.support.running.service_fixtures import StartService
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_keys_rotate_while_the_service_runs(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file)

    def status(name: str) -> int:
        return service.client.get("/info", headers=authorization(name)).status_code

    for _ in range(3):
        status("slow")
    key_file.write_text(entries("slow", "reader"))
    wait_until(lambda: service.events("key_file_read"), "the new file")
    assert (status("reader"), status("writer")) == (200, 401)
    assert status("slow") == 429  # a new file is no new bucket

    for number, broken in enumerate(("[{]", "[]", entries("reader", scopes=["root"])), 1):
        key_file.write_text(broken)
        wait_until(lambda n=number: len(service.events("key_file_refused")) == n, "the refusal")
    key_file.unlink()
    wait_until(lambda: len(service.events("key_file_refused")) == 4, "the refusal")
    assert service.metric("key_files_refused_total") == 4
    assert status("reader") == 200
    assert str(key_file) in service.events("key_file_refused")[0]["reason"]

    # As Kubernetes changes a mounted secret: a link that names another folder.
    for name in ("reader", "writer"):
        (key_file.parent / name).mkdir()
        (key_file.parent / name / "keys.json").write_text(entries(name))
    key_file.symlink_to(key_file.parent / "reader" / "keys.json")
    wait_until(lambda: len(service.events("key_file_read")) == 2, "the file behind the link")
    key_file.with_suffix(".new").symlink_to(key_file.parent / "writer" / "keys.json")
    key_file.with_suffix(".new").rename(key_file)
    wait_until(lambda: status("reader") == 401, "the other file")
    assert status("writer") == 403


def test_each_worker_follows_the_file(start: StartService, key_file: Path) -> None:
    service = start(keys=key_file, workers=2)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    key_file.write_text(entries("reader"))
    wait_until(lambda: len(service.events("key_file_read")) == 2, "both workers")
    for _ in range(20):
        with httpx.Client(base_url=service.url) as client:
            assert client.get("/info", headers=authorization("slow")).status_code == 401
