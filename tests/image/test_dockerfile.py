"""The Dockerfile and the compose file and, where they can be built, the images."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from service.settings import ENV_PREFIX, Settings
from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_label_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"\nARG VERSION={project['version']}\n" in DOCKERFILE


def test_what_is_copied_is_not_ignored_and_nothing_else_is_sent() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(set(" ".join(copied).split())) == sorted(allowed)
    assert all((ROOT / name).exists() for name in allowed)


def test_every_package_of_the_images_is_pinned_by_digest() -> None:
    lock = {canonical(line): line for line in (ROOT / "requirements.lock").read_text().split()}
    lines = (ROOT / "requirements.hashes").read_text().splitlines()
    for line in lines:
        pin, *digests = line.split(" ")
        assert pin.partition("==")[2] == lock[pin.partition("==")[0]].partition("==")[2]
        assert digests
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in digests)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {canonical(name) for name in project["dependencies"]}
    wanted |= {canonical(name) for extra in extras if extra != "dev" for name in extras[extra]}
    hashed = {canonical(line) for line in lines}
    # PyTorch has a wheel for each kind of machine, and each index has its own.
    assert wanted - hashed == {"torch", "drepmrec"}
    # What else pip installs is the project itself.
    assert "pip" not in re.sub(r"--without-pip|PIP_\w+|pip install|#.*", "", DOCKERFILE)
    script = (ROOT / "scripts" / "image-packages").read_text()
    installs = [line for line in script.splitlines() if "$pip" in line and "dry-run" not in line]
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or line.strip().startswith("$pip --no-deps ")


def test_packages_for_the_older_python_of_the_images_have_digests() -> None:
    """Digests are resolved by a newer 3.11 than Debian's, which needs fewer packages."""
    hashed = {canonical(line) for line in (ROOT / "requirements.hashes").read_text().splitlines()}
    of_image = {"python_version": "3.11", "python_full_version": "3.11.2", "extra": ""}
    conditional = set()
    for name in hashed:
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of an extra that tests do without
            continue
        for requirement in map(Requirement, needed):
            if requirement.marker is not None and requirement.marker.evaluate(of_image):
                conditional.add(canonical(requirement.name))
    assert "async-timeout" in conditional
    assert conditional <= hashed


def canonical(requirement: str) -> str:
    return re.split(r"[^a-z0-9-]", re.sub(r"[-_.]+", "-", requirement.lower()))[0]


def test_a_package_without_a_digest_is_refused_by_name(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    def lines(*names: str) -> "subprocess.CompletedProcess[str]":
        found = [{"metadata": {"name": name, "version": "1"}} for name in names]
        report.write_text(json.dumps({"install": found}))
        command = [sys.executable, "scripts/hashes.py", str(report)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    chosen = lines("FastAPI", "torch", "drepmrec", "pydantic_core").stdout.splitlines()
    assert [line.partition("==")[0] for line in chosen] == ["fastapi", "pydantic-core"]
    refused = lines("fastapi", "unheard-of")
    assert refused.returncode == 1
    assert refused.stderr == "requirements.hashes has no digest for unheard-of\n"


def test_settings_in_the_image_and_in_the_compose_file_exist() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    names = [*compose["services"]["service"]["environment"]]
    names += re.findall(rf"\b{ENV_PREFIX}\w+(?==)", DOCKERFILE)
    assert len(names) == 4
    for name in names:
        assert name.removeprefix(ENV_PREFIX).lower() in Settings.model_fields, name


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose to ask")
def test_the_compose_file_is_one() -> None:
    command = ["docker-compose", "--file", "docker-compose.yml", "config", "--quiet"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"STORE": "/store"}, check=True)


@pytest.mark.parametrize("target", ["service", "refresh", "training"])
def test_the_image_does_what_it_should(target: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "check-image"), target]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.removeprefix("skipped: ").strip())
    assert done.returncode == 0, done.stdout
