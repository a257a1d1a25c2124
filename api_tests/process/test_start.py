"""Starting the service: its options, its store and its port."""

import os
import resource
import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.running.processes import (
    clean_environment,
    only_line,
    run_service,
    service_command,
)
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, wait_until

SECRET = "s3cr3t-pa55"


@pytest.mark.slow
def test_a_store_that_is_missing_or_empty(tmp_path: Path) -> None:
    for store in (tmp_path / "missing", tmp_path):
        code, output = run_service("--store", str(store), "--port", "0")
        assert code == 1
        assert f"{store}: nothing is published in this store" in only_line(output)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["user_vectors.npy", "items.faiss", "items.arrow", "user_encoder.onnx", "report.json"]
)
def test_a_flipped_byte_is_found_and_the_file_named(
    published: Published, tmp_path: Path, name: str
) -> None:
    store = shutil.copytree(published.store, tmp_path / "store")
    path = store / "bundles" / published.version / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    for workers in ("1", "2") if name == "items.faiss" else ("1",):
        code, output = run_service("--store", str(store), "--port", "0", "--workers", workers)
        assert code == 1
        assert str(path) in output.splitlines()[-1]
        assert "Traceback" not in output


@pytest.mark.slow
def test_the_limit_of_open_files_is_raised_and_a_low_one_is_logged(
    published: Published, tmp_path: Path
) -> None:
    def started(limits: str, **options: int) -> tuple[list[int], RunningService]:
        prefix = ["sh", "-c", f'{limits} && exec "$@"', "sh"]
        service = RunningService(published.store, tmp_path / "log", prefix, **options)
        with closing(service):
            pids = [service.process.pid, *service.workers()]
            found = [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in pids]
        return found, service

    found, service = started("ulimit -Sn 100 && ulimit -Hn 4000", workers=2)
    assert found == [4000] * 3
    assert not service.events("few_open_files")
    found, service = started("ulimit -n 100")
    assert found == [100]
    assert service.events("few_open_files")[0]["limit"] == 100


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_tried_again_while_others_are_there(
    start: StartService, published: Published, tmp_path: Path
) -> None:
    store = shutil.copytree(published.store, tmp_path / "store")
    service = start(store=store, workers=2, reload_poll=0)
    wait_until(lambda: len(service.events("serving")) == 2, "both workers")
    (store / "bundles").rename(store / "away")
    os.kill(service.workers()[0], signal.SIGKILL)
    wait_until(lambda: service.events("worker_missing"), "a worker that cannot start")
    published.check(service.get("/recommend/user-3").json())  # the other one goes on
    (store / "away").rename(store / "bundles")
    wait_until(lambda: len(service.events("serving")) == 3, "the worker that was missing")
    (store / "bundles").rename(store / "away")
    for pid in service.workers():
        os.kill(pid, signal.SIGKILL)
    assert service.process.wait(DEADLINE) == 1
    assert "no worker could start" in service.log.read_text()


@pytest.mark.slow
def test_sigterm_while_modules_are_imported(published: Published) -> None:
    for loaded in ("pydantic_core", "numpy"):
        command = service_command("--store", str(published.store), "--port", "0")
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=clean_environment()) as found:
            maps = Path(f"/proc/{found.pid}/maps")
            wait_until(lambda maps=maps, name=loaded: name in maps.read_text(), loaded, poll=0.001)
            found.send_signal(signal.SIGTERM)
            assert found.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--store (DREPMREC_STORE): Field required"),
        (["--store", "x", "--port", "70000"], "--port (DREPMREC_PORT)"),
        (["--store", "x", "--workers", "0"], "--workers"),
        (["--store", "x", "--redis-url", f"http://:{SECRET}@h"], "--redis-url"),
        (["--store", "x", "--redis-url", f"redis://:{SECRET}/x@h"], "--redis-url"),
        (["--store", "x", "--redis-url", f"redis://u:12/{SECRET}@h"], "--redis-url"),
        (["--store", "x", "--redis-namespace", "a b"], "--redis-namespace"),
    ],
)
def test_wrong_options_are_refused(options: list[str], named: str) -> None:
    code, output = run_service(*options)
    assert code == 2
    assert named in only_line(output)
    assert SECRET not in output


def test_unknown_options_and_help() -> None:
    code, output = run_service("--sotre", "x")
    assert code == 2
    assert "--sotre" in output
    code, output = run_service("--help")
    assert code == 0
    assert "Store to serve from: a directory, or a URL" in " ".join(output.split())


def test_a_port_variable_made_by_kubernetes_is_explained() -> None:
    code, output = run_service("--store", "x", DREPMREC_PORT="tcp://10.0.0.1:8000")
    assert code == 2
    assert "enableServiceLinks: false" in only_line(output)


@pytest.mark.slow
def test_a_port_that_is_taken(published: Published) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run_service("--store", str(published.store), "--port", str(port))
    assert code == 1
    assert f"127.0.0.1:{port}: cannot listen on this address" in only_line(output)


@pytest.mark.slow
def test_a_key_file_that_cannot_be_used(published: Published, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for content, reason in ((None, "No such file"), ("[]", "has no keys")):
        if content is not None:
            path.write_text(content)
        code, output = run_service(
            "--store", str(published.store), "--port", "0", "--keys", str(path)
        )
        assert code == 2
        assert f"{path}: " in only_line(output)
        assert reason in output


@pytest.mark.slow
def test_secrets_are_in_no_output(start: StartService) -> None:
    # Nothing listens on port 1, so that errors are logged as well.
    url = f"redis://someone:{SECRET}@127.0.0.1:1/0?client_name={SECRET}"
    service = start(redis_url=url, log_level="debug")
    answer = service.get("/recommend/user-1")
    assert (answer.status_code, answer.json()["degraded"]) == (200, True)
    info = service.get("/info")
    assert info.json()["settings"]["redis_url"] == "redis://127.0.0.1:1/0"
    everything = info.text + service.get("/metrics").text + service.log.read_text()
    assert SECRET not in everything
    assert "someone" not in everything
    assert "user-1" not in service.log.read_text()
