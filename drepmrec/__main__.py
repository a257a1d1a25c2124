"""`drepmrec COMMAND …` and `python -m drepmrec COMMAND …`.

Exit codes are those of the commands; 1 if a package that the command needs is not installed.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from drepmrec.delegated import DELEGATED, delegate

PACKAGES = ("bundle", "models", "service", "training")


def main() -> None:
    """Run the command that the arguments name."""
    arguments = sys.argv[1:]
    try:
        if arguments and arguments[0] in DELEGATED:
            delegate(arguments[0], arguments[1:])
        else:
            _run_with_typer()
    except ModuleNotFoundError as error:
        if not _not_installed(error):
            raise
        sys.stderr.write(f"error: {missing_package(arguments, error.name)}\n")
        sys.exit(1)


def missing_package(arguments: Sequence[str], module: str | None) -> str:
    """One sentence that says which extra a command needs.

    Args:
        arguments: of the command line.
        module: name of the module that is missing.
    """
    command = next((a for a in arguments if not a.startswith("-")), None)
    extra = "service" if command in DELEGATED else "service,train"
    what = f"drepmrec {command}" if command else "the list of all commands"
    there = "" if command in DELEGATED else f"; without it: drepmrec {'|'.join(DELEGATED)}"
    return f"{what} needs {module}: pip install 'drepmrec[{extra}]'{there}"


def _run_with_typer() -> None:
    from drepmrec.app import build
    from training.cli.lazy import run

    run(build(), "drepmrec")


def _not_installed(error: ModuleNotFoundError) -> bool:
    """True if a package is absent, and not merely a module of an installed package of ours."""
    top = (error.name or "").partition(".")[0]
    return bool(top) and (top not in PACKAGES or find_spec(top) is None)


if __name__ == "__main__":
    main()
