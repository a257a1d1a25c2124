"""Rules of dependency, as `docs/architecture.md` states them; a failure names file, line, rule."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.paths import DOCS, ROOT

PACKAGES: dict[str, set[str]] = {
    "bundle": set(),
    "models": set(),
    "training": {"bundle", "models"},
    "service": {"bundle"},
}
"""Top-level packages, and those that each may import."""

LAYERS: dict[str, list[set[str]]] = {
    "bundle": [
        {"errors", "sorted_sets"},
        {"ids", "csr", "json_file", "types", "onnx_runtime", "resources"},
        {"format", "content"},
        {"catalogue", "store"},
        {"events", "search"},
        {"__main__"},
    ],
    "training": [
        {"errors"},
        {"data", "demo"},
        {"evaluation"},
        {"fitting", "gate"},
        {"baselines", "bulk", "export", "refresh", "tuning"},
        {"content"},
        {"cli"},
        {"__main__"},
    ],
    "service": [
        {"errors", "types", "redaction"},
        {"limiter", "observability"},
        {"auth"},
        {"schemas", "settings"},
        {"http", "redis"},
        {"cache", "state"},
        {"engine"},
        {"api"},
        {"lifespan"},
        {"app"},
        {"server", "openapi", "keys"},
        {"__main__"},
    ],
}
"""Parts of each package, in layers: a part imports only parts of the layers before its own."""

HOMES: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("bundle/onnx_runtime.py",),
    "faiss": (
        "bundle/format/index.py",
        "bundle/format/lists.py",
        "service/lifespan.py",
        "training/export/",
        "training/fitting/neighbours.py",
    ),
    "redis": ("service/redis/", "training/refresh/"),
    "fastapi": ("service/api/", "service/http/", "service/app.py", "service/server.py"),
    "torch": (
        "models/",
        "training/fitting/",
        "training/export/",
        "training/baselines/",
        "training/tuning/",
    ),
    "onnx": ("training/export/", "training/content/"),
}
"""Places where a library may be imported at module level."""
LAZY_HOMES: dict[str, tuple[str, ...]] = {
    "torch": ("training/cli/", "training/content/"),
    "onnx": ("bundle/format/scorer.py",),
}
"""Further places where a library may be imported inside of functions."""

HEAVY = ("torch", "training", "models", "onnx", "scipy", "tensorboard")
"""Modules that serving must not load."""


class Import(NamedTuple):
    """One imported module."""

    file: Path
    line: int
    module: str
    lazy: bool

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(package: str) -> dict[str, Path]:
    """All modules of a package by name."""
    return {name_of(path): path for path in sorted((ROOT / package).rglob("*.py"))}


def imports(path: Path) -> Iterator[Import]:
    """Everything that a file imports, in functions and for type checkers, too."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        lazy = id(node) in inside
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, lazy)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / whole.replace(".", "/")).with_suffix(".py").exists()
                yield Import(path, node.lineno, whole if is_module else node.module, lazy)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package: str) -> None:
    found = [one for path in modules(package).values() for one in imports(path)]
    assert found
    allowed = PACKAGES[package] | {package}
    others = {*PACKAGES, "tests", "api_tests", "benchmarks", "drepmrec"}
    wrong = [
        f"{one.place}: {package} may not import {one.module}"
        for one in found
        if one.module.split(".")[0] in others - allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", LAYERS)
def test_parts_import_parts_of_lower_layers(package: str) -> None:
    layer_of = {part: n for n, layer in enumerate(LAYERS[package]) for part in layer}
    wrong = []
    for name, path in modules(package).items():
        part = name.removeprefix(package).strip(".").partition(".")[0]
        if not part:  # the package's own __init__
            continue
        assert part in layer_of, f"{path}: {part} is in no layer of {package}"
        for one in imports(path):
            other = one.module.removeprefix(f"{package}.").partition(".")[0]
            if not one.module.startswith(f"{package}.") or other == part:
                continue
            if layer_of[other] >= layer_of[part]:
                wrong.append(f"{one.place}: {package}/{part} may not import {package}/{other}")
    assert not wrong, "\n".join(wrong)


def test_no_module_is_in_a_circle_of_imports() -> None:
    files = {name: path for package in PACKAGES for name, path in modules(package).items()}
    graph = {
        name: {one.module for one in imports(path) if one.module in files} - {name}
        for name, path in files.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", HOMES)
def test_libraries_are_imported_in_their_homes(library: str) -> None:
    wrong, used = [], 0
    for package in PACKAGES:
        for path in modules(package).values():
            file = str(path.relative_to(ROOT))
            for one in imports(path):
                if one.module.split(".")[0] != library:
                    continue
                used += 1
                homes = HOMES[library] + (LAZY_HOMES.get(library, ()) if one.lazy else ())
                if not file.startswith(homes):
                    wrong.append(f"{one.place}: {library} is for {', '.join(HOMES[library])} only")
    assert used, f"nothing imports {library}"
    assert not wrong, "\n".join(wrong)


def test_models_know_torch_and_nothing_of_files_frames_or_the_web() -> None:
    known = {"torch", "pydantic", "models", "collections", "itertools", "typing", "abc"}
    for path in modules("models").values():
        for one in imports(path):
            assert one.module.split(".")[0] in known, f"{one.place}: {one.module}"


def test_sets_of_numbers_are_not_made_by_numpy() -> None:
    """`bundle/sorted_sets.py` says why."""
    slow = {"unique", "union1d", "intersect1d", "setdiff1d", "setxor1d", "isin"}
    for package in {*PACKAGES, "benchmarks"}:
        for path in modules(package).values():
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    wrong = node.value.id == "np" and node.attr in slow
                    assert not wrong, f"{place}: np.{node.attr} is in bundle/sorted_sets.py"


def test_no_folder_is_a_heap() -> None:
    for package in PACKAGES:
        for folder in {path.parent for path in modules(package).values()}:
            files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(files) <= 16, f"{folder.relative_to(ROOT)} has {len(files)} modules"


def test_files_are_short() -> None:
    for package in PACKAGES:
        for path in modules(package).values():
            lines = len(path.read_text().splitlines())
            assert lines <= 300, f"{path.relative_to(ROOT)} has {lines} lines"


def test_the_page_names_each_part() -> None:
    page = (DOCS / "architecture.md").read_text()
    for package, layers in LAYERS.items():
        for part in set().union(*layers) - {"__main__", "openapi", "keys"}:
            assert f"`{part}" in page or f"/{part}" in page, f"{package}/{part}"


def loaded(by: str, names: tuple[str, ...]) -> str:
    """Those of some modules that a module loads."""
    code = f"import sys, {by}; print(*sorted(m for m in {names!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["bundle.store.store", "service.app", "service.__main__"])
def test_serving_never_loads_what_only_training_needs(module: str) -> None:
    assert loaded(module, HEAVY) == ""


def test_the_service_sets_its_threads_before_numpy_reads_them() -> None:
    """OpenBLAS and OpenMP read their environment variables when they are loaded."""
    assert loaded("service.__main__", ("numpy", "faiss", "onnxruntime")) == ""


def test_commands_that_need_no_torch_do_not_wait_for_it() -> None:
    assert loaded("training.cli.main", ("torch", "optuna", "tensorboard")) == ""
