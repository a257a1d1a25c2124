"""Key files, and the messages that refuse them."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.auth.key_file import KeyFileError, read_key_file
from service.redaction import digest, new_key, without_keys

DIGEST = digest(new_key()).hex()


def entry(name: str = "shop", **changes: Any) -> dict[str, Any]:
    known = {"name": name, "sha256": DIGEST, "scopes": ["read"], "requests_per_second": None}
    return {key: value for key, value in (known | changes).items() if value != "left out"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Invalid JSON"),
        ("[]", "has no keys"),
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
        ([entry(burst=3)], "entry 1: burst requires requests_per_second"),
        ([entry(requests_per_second=1, burst=0.5)], "entry 1: burst: "),
        ([entry(rate=5)], "entry 1: rate: "),
        ([entry() | {new_key(): 5}], "entry 1: drk_…: "),
        ([entry(), entry("other")], "entry 2: sha256: repeats that of entry 1"),
        ([entry(), entry(sha256=DIGEST[::-1])], "entry 2: name: repeats that of entry 1"),
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
