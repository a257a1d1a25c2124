"""The public names of the package: complete, documented, used, and loaded on demand."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import bundle

ROOT = Path(bundle.__file__).parents[1]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each import from the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bundle"):
            for alias in node.names:
                yield node.module or "", alias.name


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    seen = set(imports(Path(bundle.__file__)))
    assert seen == {(m, name) for m, names in bundle._MODULES.items() for name in names}
    assert bundle.__all__ == sorted(name for _, name in seen) == dir(bundle)


@pytest.mark.parametrize("name", bundle.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(bundle, name)
    assert inspect.getdoc(found)
    assert found.__module__.startswith("bundle.")


def test_every_public_name_is_used_by_the_service_or_by_training() -> None:
    paths = [path for room in ("service", "training") for path in (ROOT / room).rglob("*.py")]
    used = {name for path in paths for _, name in imports(path)}
    assert set(bundle.__all__) <= used


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bundles'"):
        bundle.Bundles  # noqa: B018
