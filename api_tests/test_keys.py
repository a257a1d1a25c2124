import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Published
from test_start import complaint, run

from service.key_file import KeyEntry, KeyFileError, read_key_file
from service.key_text import digest, new_key, without_keys
from service.rate_limit import TokenBucket

DIGEST = digest(new_key()).hex()


def entry(name: str = "shop", **changes: Any) -> dict[str, Any]:
    known = {"name": name, "sha256": DIGEST, "scopes": ["read"], "requests_per_second": None}
    return {key: value for key, value in (known | changes).items() if value != "left out"}


def make_key(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "service.keys", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_makes_a_key_and_its_entry(tmp_path: Path) -> None:
    code, output, _ = make_key("shop", "--scopes", "read", "write", "--rate", "0.5", "--burst", "7")
    assert code == 0
    key, line = output.splitlines()
    path = tmp_path / "keys.json"
    path.write_text(f"[{line}]")
    assert read_key_file(path) == [
        KeyEntry(
            name="shop",
            sha256=digest(key).hex(),
            scopes=frozenset({"read", "write"}),
            requests_per_second=0.5,
            burst=7,
        )
    ]
    assert key not in line
    assert without_keys(f"x{key}y") == "xdrk_…"
    again = make_key("shop")[1].splitlines()
    assert again[0] != key
    assert json.loads(again[1])["scopes"] == ["read"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "NAME"),
        (["a b"], "name: "),
        (["shop", "--scopes", "root"], "--scopes"),
        (["shop", "--rate", "-1"], "requests_per_second: "),
        (["shop", "--burst", "5"], "burst"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments: list[str], named: str) -> None:
    code, output, error = make_key(*arguments)
    assert (code, output) == (2, "")
    assert named in error.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Invalid JSON"),
        ("[]", "at least 1 item"),
        ("{}", "valid array"),
        ([entry(), 7], "entry 2: "),
        ([entry(name="a b")], "entry 1: name: "),
        ([entry(name=new_key())], "entry 1: name: is a key"),
        ([entry(sha256=DIGEST[1:])], "entry 1: sha256: "),
        ([entry(), entry("other", sha256=DIGEST.upper())], "entry 2: sha256: "),
        ([entry(scopes=["read", "root"])], "entry 1: scopes: "),
        ([entry(scopes=[])], "entry 1: scopes: "),
        ([entry(requests_per_second="left out")], "entry 1: requests_per_second: Field required"),
        ([entry(requests_per_second="5")], "entry 1: requests_per_second: "),
        ([entry(requests_per_second=0)], "entry 1: requests_per_second: "),
        ([entry(burst=3)], "entry 1: burst is of no use"),
        ([entry(requests_per_second=1, burst=0.5)], "entry 1: burst: "),
        ([entry(rate=5)], "entry 1: rate: "),
        ([entry(**{new_key(): 5})], "entry 1: drk_…: "),
        ([entry(), entry("other")], "entry 2: sha256: is that of entry 1"),
        ([entry(), entry(sha256=DIGEST[::-1])], "entry 2: name: is that of entry 1"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(KeyFileError) as refused:
        read_key_file(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert DIGEST not in message
    assert without_keys(message) == message


def test_the_service_does_not_start_without_the_keys_it_was_told_of(
    published: Published, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    for content, reason in ((None, "No such file"), ("[]", "at least 1 item")):
        if content is not None:
            path.write_text(content)
        code, output = run("--store", str(published.store), "--port", "0", "--keys", str(path))
        assert code == 2
        assert f"{path}: " in complaint(output)
        assert reason in output


def test_a_bucket_holds_a_burst_and_fills_up_again() -> None:
    bucket = TokenBucket(rate=10, size=5)
    now = 1000.0
    assert [bucket.take(now) for _ in range(5)] == [0.0] * 5
    assert bucket.take(now) == pytest.approx(0.1)
    assert bucket.take(now) == pytest.approx(0.1)  # who was refused took nothing
    assert bucket.take(now + 0.05) == pytest.approx(0.05)
    assert [bucket.take(now + 0.1 * n) for n in range(1, 40)] == [0.0] * 39
    assert [bucket.take(now + 100) for _ in range(5)] == [0.0] * 5
    assert bucket.take(now + 100) > 0


def test_a_bucket_over_hours_lets_through_its_rate() -> None:
    bucket = TokenBucket(rate=3, size=3)
    taken = sum(bucket.take(5e5 + n / 7) == 0 for n in range(7 * 3600))
    assert abs(taken - 3 * 3600) <= 4
