"""Commands with a command line of their own: `drepmrec serve …` runs `python -m service …`.

They need the standard library only until they run, and work where typer is not installed.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from runpy import run_module


@dataclass(frozen=True)
class Delegated:
    """A command that another module's command line handles.

    Attributes:
        module: what `python -m` runs.
        summary: first sentence of its help.
        prefix: arguments in front of the given ones.
    """

    module: str
    summary: str
    prefix: tuple[str, ...] = ()


DELEGATED = {
    "serve": Delegated("service", "Serve recommendations over HTTP."),
    "keys": Delegated("service.keys", "Create an API key and its entry for the key file."),
    "openapi": Delegated("service.openapi", "Print the service's OpenAPI schema."),
    "fetch": Delegated("bundle", "Copy one bundle between stores and verify it.", ("fetch",)),
}


def delegate(name: str, arguments: Sequence[str]) -> None:
    """Run a delegated command.

    Args:
        name: key of `DELEGATED`.
        arguments: of the command.

    Raises:
        SystemExit: with the command's exit code.
    """
    command = DELEGATED[name]
    sys.argv[1:] = [*command.prefix, *arguments]
    run_module(command.module, run_name="__main__", alter_sys=True)
