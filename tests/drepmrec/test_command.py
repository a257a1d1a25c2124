"""The command `drepmrec`: one list of all commands, which loads no more than a command needs."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bundle.store.store import BundleStore
from drepmrec.app import build
from drepmrec.delegated import DELEGATED
from tests.support.data.bundles import publish
from training.cli.lazy import CommandEntry, LazyCommand
from training.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "onnx", "onnxruntime", "optuna", "PIL", "tokenizers", "matplotlib", "scipy")


def run(
    *arguments: str | Path, code: int = 0, without: tuple[str, ...] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run it as the console script does, perhaps as if some packages were not installed."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r})); "
        "from drepmrec.__main__ import main; main()"
    )
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **{"cwd": ROOT} | options,
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def test_the_project_installs_it() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"drepmrec": "drepmrec.__main__:main"}
    listed = run("--help").stdout
    for name in [*(entry.name for entry in COMMANDS), *DELEGATED]:
        assert f"│ {name} " in listed or f"\n  {name} " in listed


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_list_says_what_the_command_itself_says(entry: CommandEntry) -> None:
    command = LazyCommand(entry).load()
    assert command.help.split("\n\n")[0] == entry.summary
    assert "\n" not in command.help.replace("\n\n", "")
    assert command.name == entry.name


@pytest.mark.parametrize("arguments", [["--help"], ["bundles", "list", "--store", "STORE"]])
@pytest.mark.parametrize("program", ["drepmrec.__main__", "training.cli.main"])
def test_what_needs_no_heavy_package_does_not_wait_for_one(
    program: str, arguments: list[str], tmp_path: Path
) -> None:
    version = publish(BundleStore(tmp_path / "store"))
    arguments = [str(tmp_path / "store") if a == "STORE" else a for a in arguments]
    script = f"""
import sys
from {program} import main
try:
    main()
finally:
    print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
    assert "bundles" in done.stdout if arguments == ["--help"] else version in done.stdout


@pytest.mark.parametrize("name", ["serve", "keys"])
def test_help_of_a_delegated_command_is_its_own(name: str) -> None:
    own = [sys.executable, "-m", DELEGATED[name].module, "--help"]
    asked = subprocess.run(own, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run(name, "--help").stdout == asked.stdout
    assert asked.stdout.startswith("usage: ")


def test_the_list_of_commands_passes_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr("drepmrec.app.delegate", lambda name, rest: given.append((name, rest)))
    arguments = ["serve", "--store", "s", "--help", "-x", "word"]
    build()(arguments, prog_name="drepmrec", standalone_mode=False)
    assert given == [("serve", arguments[1:])]


def test_delegated_commands_do_what_they_say(tmp_path: Path) -> None:
    version = publish(BundleStore(tmp_path / "store"))
    said = run("fetch", tmp_path / "store", tmp_path / "copy").stdout
    assert version in said
    assert BundleStore(tmp_path / "copy").current() == version
    entry = json.loads(run("keys", "shop", "--scopes", "write").stdout.split("\n", 1)[1])
    assert (entry["name"], entry["scopes"]) == ("shop", ["write"])
    run("serve", code=2)
    run("fetch", tmp_path / "nothing", tmp_path / "other", code=1)


def test_the_service_image_serves_and_says_what_the_other_commands_need(tmp_path: Path) -> None:
    """As there: neither the packages of training nor their code."""
    for name in ("bundle", "drepmrec", "service"):
        (tmp_path / name).symlink_to(ROOT / name)
    image: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path)}}
    absent = ("typer", "torch", "training", "models")
    assert run("serve", "--help", without=absent, **image).stdout.startswith("usage: ")
    for arguments in (["fit", "data"], ["--help"], []):
        said = run(*arguments, code=1, without=absent, **image).stderr
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert "pip install 'drepmrec[service,train]'" in said
        assert "serve|keys" in said


@pytest.mark.parametrize(
    ("arguments", "absent", "sentence"),
    [
        (["fit", "data", "--store", "store"], "torch", "drepmrec fit needs torch: pip install"),
        (["tune", "data", "--study", "s.db"], "optuna", "drepmrec tune needs optuna: pip install"),
        (["serve", "--store", "store"], "uvicorn", "'drepmrec[service]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    arguments: list[str], absent: str, sentence: str, tmp_path: Path
) -> None:
    said = run(*arguments, code=1, without=(absent,), cwd=tmp_path, env=with_root()).stderr
    assert sentence in said
    assert said.count("\n") == 1


def with_root() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def complete(*words: str) -> list[str]:
    environment = {
        "_DREPMREC_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("drepmrec", *words)),
        "COMP_CWORD": str(len(words)),
    }
    return run(env=os.environ | environment).stdout.split()


@pytest.mark.slow
def test_shells_complete_commands_and_options() -> None:
    assert complete("se") == ["serve"]
    assert complete("bundles", "ro") == ["rollback"]
    assert complete("fit", "--warm") == ["--warm-start"]
    shown = run(
        "--show-completion",
        "bash",
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "_drepmrec_completion" in shown.stdout
