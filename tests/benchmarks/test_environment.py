"""Provenance of published numbers."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.environment import (
    CODE,
    LAYOUT,
    ROOT,
    code_digest,
    command_line,
    is_by_this_code,
    real_data,
    versions,
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that decide a run's result, in a folder of their own."""
    for name in CODE:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    return tmp_path


def test_the_digest_follows_every_file_however_deep(copy: Path) -> None:
    before = code_digest(copy)
    assert before == code_digest() == code_digest(ROOT)
    files = [file for name in CODE for file in [copy / name, *(copy / name).rglob("*.py")]]
    files = [file for file in files if file.is_file()]
    assert any(len(file.relative_to(copy).parts) > 2 for file in files)
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content + b"#")
        assert code_digest(copy) != before, file
        file.write_bytes(content)
    assert code_digest(copy) == before
    nested = next(copy.glob("training/*/*.py"))
    nested.rename(nested.with_name("renamed.py"))
    assert code_digest(copy) != before


def test_a_digest_of_nothing_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "training")
    with pytest.raises(FileNotFoundError, match="training"):
        code_digest(copy)


def test_runs_of_an_earlier_layout_are_by_other_code() -> None:
    made_by = versions()
    assert made_by["layout"] == LAYOUT
    assert is_by_this_code(made_by)
    assert not is_by_this_code(made_by | {"code": "000000000000"})
    assert not is_by_this_code({"code": made_by["code"]})  # the field came with layout 2


def test_a_command_line_does_not_say_where_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiktok"
    monkeypatch.setattr(sys, "argv", ["quality", "grid", "--data", str(folder), "--only", "a b"])
    said = command_line(folder)
    assert said.startswith("python -m ")
    assert said.endswith(" grid --data $DREPMREC_DATA/tiktok --only 'a b'")


def test_real_data_are_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DREPMREC_DATA", raising=False)
    assert real_data("tiktok") is None
    monkeypatch.setenv("DREPMREC_DATA", str(tmp_path))
    assert real_data("tiktok") is None
    assert capsys.readouterr().out.count("DREPMREC_DATA") == 2
    (tmp_path / "tiktok").mkdir()
    assert real_data("tiktok") == tmp_path / "tiktok"
