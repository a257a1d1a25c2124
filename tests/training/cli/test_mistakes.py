"""Mistakes in arguments, stores and disks: each is said in one sentence, before any work."""

import sys
from pathlib import Path

import pytest

from bundle.errors import InputError
from bundle.store.download_cache import default_cache
from tests.support.data.event_logs import store_with_bundle
from training.cli.lazy import command_group, run
from training.cli.main import COMMANDS, SUMMARY
from training.fitting.run_folder import run_folder


class Said:
    """Runs commands in this process and remembers what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.out = ""

    def __call__(self, *arguments: str | Path, code: int) -> str:
        """Run a command; returns the only line of its error, without `error: `."""
        self._monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(command_group(COMMANDS, SUMMARY), "training")
        self.out, errors = self._capsys.readouterr()
        assert ended.value.code == code, errors
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert len(lines) == (code != 0), errors
        return lines[0].removeprefix("error: ") if lines else errors


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    return Said(capsys, monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        ["bundles", "list"],
        ["bundles", "show"],
        ["bundles", "verify"],
        ["bundles", "rollback"],
        ["bundles", "pin", "20260101T000000Z-00000000"],
        ["bundles", "unpin", "20260101T000000Z-00000000"],
        ["bundles", "collect", "--keep", "1"],
        ["refresh"],
        ["refresh", "--dry-run"],
        ["evaluate", "."],
    ],
    ids=" ".join,
)
def test_a_store_that_does_not_exist_is_named_and_not_made(
    command: list[str], said: Said, tmp_path: Path
) -> None:
    store = tmp_path / "mistyped"
    assert said(*command, "--store", store, code=2) == f"--store {store}: there is no such folder"
    assert not store.exists()


def test_a_store_without_bundles_is_no_success_of_verify(said: Said, tmp_path: Path) -> None:
    assert "no bundles to verify" in said("bundles", "verify", "--store", tmp_path, code=1)
    assert f"note: {tmp_path} has no bundles" in said(
        "bundles", "list", "--store", tmp_path, code=0
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bundles", "list", "--store", ""], "the value after --store is empty"),
        (["bundles", "list", "--store="], "--store: the value is empty"),
        (["fit", "", "--store", "s"], "the value after fit is empty"),
        (["fit", "d", "--store", "s", "--run", " "], "the value after --run is empty"),
        (["refresh", "--store", "s", "--events", ""], "the value after --events is empty"),
        (["refresh", "--store", "s", "--items="], "--items: the value is empty"),
        (["refresh", "--store", "s", "--force", ""], "the value after --force is empty"),
        (["tune", "d", "--study", ""], "the value after --study is empty"),
        (["refresh", "--store", "s", "--event-weights", "x"], "--event-weights: Invalid JSON"),
    ],
    ids=" ".join,
)
def test_values_that_are_none_are_refused(
    arguments: list[str], sentence: str, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(*arguments, code=2).startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_empty_variables_mean_the_default(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the service: compose files make variables of what is not set."""
    store_with_bundle(tmp_path / "store")
    names = ["REDIS_URL", "REDIS_NAMESPACE", "REDIS_CLUSTER", "REDIS_SENTINEL", "STATE"]
    for name in [*names, "VECTOR_TTL", "EVENT_WEIGHTS"]:
        monkeypatch.setenv(f"DREPMREC_{name}", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    said("refresh", "--store", tmp_path / "store", code=0)
    assert said.out == "nothing new\n"


def test_a_state_that_the_service_is_told_to_keep_must_be_there(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_with_bundle(tmp_path / "store")
    monkeypatch.setenv("DREPMREC_STATE", str(tmp_path / "gone.sqlite3"))
    sentence = said("refresh", "--store", tmp_path / "store", code=2)
    assert sentence == f"{tmp_path}/gone.sqlite3: no such file"


def test_a_folder_that_cannot_be_written_is_named(said: Said, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "folder"
    assert "Not a directory" in said("demo", inside, code=1)
    assert "Not a directory" in said("fit", ".", "--store", inside, code=1)
    fit = ("fit", ".", "--store", tmp_path / "store", "--run", inside)
    assert said(*fit, code=1) == f"{inside}: cannot be written (Not a directory)"
    study = ("tune", ".", "--study", tmp_path / "study.db", "--out", tmp_path)
    assert said(*study, code=2) == f"--out {tmp_path}: cannot be written as a file"


def test_a_second_fit_is_refused_before_it_reads_data(said: Said, tmp_path: Path) -> None:
    command = ("fit", tmp_path / "no-data", "--store", tmp_path / "store")
    with run_folder(tmp_path / "store" / "run"):
        sentence = said(*command, code=1)
    assert sentence.startswith(f"{tmp_path}/store/run: another process is fitting there")
    assert "no-data" in said(*command, code=2)


def test_a_cache_is_in_no_folder_that_depends_on_the_current_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        default_cache()
