import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import Published, StartService
from servers import DEADLINE, clean_environment, command

from service.cpu import available_cores, thread_budget
from service.settings import parse_settings

SECRET = "s3cr3t-pa55"


def run(*options: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command(*options),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=clean_environment(**environment),
    )
    return done.returncode, done.stdout + done.stderr


def complaint(output: str) -> str:
    """The one sentence, which is all there is."""
    lines = output.splitlines()
    assert len(lines) == 1, output
    assert lines[0].startswith("python -m service: ")
    return lines[0]


def test_a_store_that_is_missing_or_empty(tmp_path: Path) -> None:
    for store in (tmp_path / "missing", tmp_path):
        code, output = run("--store", str(store), "--port", "0")
        assert code == 1
        assert f"{store}: nothing is published in this store" in complaint(output)


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
        code, output = run("--store", str(store), "--port", "0", "--workers", workers)
        assert code == 1
        assert str(path) in output.splitlines()[-1]
        assert "Traceback" not in output


def test_a_worker_whose_place_cannot_be_taken(
    start: StartService, published: Published, tmp_path: Path
) -> None:
    store = shutil.copytree(published.store, tmp_path / "store")
    service = start(store=store, workers=2)
    shutil.rmtree(store / "bundles")
    os.kill(service.workers()[0], signal.SIGKILL)
    assert service.process.wait(DEADLINE) == 1
    assert "a worker's successor could not start" in service.log.read_text()


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
def test_options_that_make_no_sense(options: list[str], named: str) -> None:
    code, output = run(*options)
    assert code == 2
    assert named in complaint(output)
    assert SECRET not in output


def test_unknown_options_and_help() -> None:
    code, output = run("--sotre", "x")
    assert code == 2
    assert "--sotre" in output
    code, output = run("--help")
    assert code == 0
    assert "store to serve from: a directory, or s3://" in output


def test_a_port_variable_made_by_kubernetes_is_explained() -> None:
    code, output = run("--store", "x", DREPMREC_PORT="tcp://10.0.0.1:8000")
    assert code == 2
    assert "enableServiceLinks: false" in complaint(output)


def test_a_port_that_is_taken(published: Published) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run("--store", str(published.store), "--port", str(port))
    assert code == 1
    assert f"127.0.0.1:{port}: cannot listen there" in complaint(output)


def test_the_command_line_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREPMREC_STORE", "from-environment")
    monkeypatch.setenv("DREPMREC_WORKERS", "3")
    settings = parse_settings(["--store", "from-command-line"])
    assert (str(settings.store), settings.workers) == ("from-command-line", 3)


def test_secrets_stay_secret(start: StartService) -> None:
    # Nobody listens on port 1, so that errors are logged, too.
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


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "100000"}, 0.25),
    ],
)
def test_cores_by_cpu_quota(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    expected = len(os.sched_getaffinity(0)) if cores is None else cores
    assert available_cores(tmp_path) == expected


def test_workers_share_the_cores() -> None:
    assert [thread_budget(w, cores=4.0) for w in (1, 2, 3, 8)] == [4, 2, 1, 1]
