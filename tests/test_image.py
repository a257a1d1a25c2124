"""The images: what stands in the Dockerfile, and, where they can be built, what comes out."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from service.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_label_has_the_version_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"\nARG VERSION={project['version']}\n" in DOCKERFILE


def test_what_is_copied_is_not_ignored_and_nothing_else_is_sent():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(set(" ".join(copied).split())) == sorted(allowed)
    assert all((ROOT / name).exists() for name in allowed)


def test_settings_in_the_image_and_in_the_compose_file_exist():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    names = [*compose["services"]["service"]["environment"]]
    names += re.findall(rf"\b{ENV_PREFIX}\w+(?==)", DOCKERFILE)
    assert len(names) == 4
    for name in names:
        assert name.removeprefix(ENV_PREFIX).lower() in Settings.model_fields, name


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose to ask")
def test_the_compose_file_is_one():
    command = ["docker-compose", "--file", "docker-compose.yml", "config", "--quiet"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"STORE": "/store"}, check=True)


@pytest.mark.parametrize("target", ["service", "training"])
def test_the_image_does_what_it_should(target: str):
    command = [sys.executable, ROOT / "scripts" / "check-image", target]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.removeprefix("skipped: ").strip())
    assert done.returncode == 0, done.stdout
