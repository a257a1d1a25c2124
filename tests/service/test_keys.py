"""`python -m service.keys`, which makes a key and its entry for the key file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.auth.key_file import KeyEntry, read_key_file
from service.redaction import digest, without_keys


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
def test_the_command_refuses_wrong_arguments(arguments: list[str], named: str) -> None:
    code, output, error = make_key(*arguments)
    assert (code, output) == (2, "")
    assert named in error.splitlines()[-1]
