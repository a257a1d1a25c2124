"""Groups of commands that import a command's module only when the command runs."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bundle.errors import DRepMRecError, InputError

SPINS = "3000"
"""Turns that a thread of OpenMP waits for the others before it gives up its core; GNU's library
waits 300,000. Where other work shares the cores, that is most of the time: fits of small data took
20 times as long, TikTok's epoch up to 2.5 times. On idle cores an epoch takes the same time."""


@dataclass(frozen=True)
class CommandEntry:
    """One row of a table of commands.

    Attributes:
        name: the command's name.
        summary: first sentence of its help.
        module: module that defines it.
        attribute: function, or `typer.Typer` with commands of its own, in that module.
    """

    name: str
    summary: str
    module: str
    attribute: str


class LazyCommand(TyperCommand):
    """Name and summary of a command; everything else is the imported command's.

    Args:
        entry: its row in the table.
    """

    def __init__(self, entry: CommandEntry) -> None:
        super().__init__(entry.name, help=entry.summary)
        self.entry = entry

    def load(self) -> Any:
        """Import the command."""
        target = getattr(import_module(self.entry.module), self.entry.attribute)
        app = target
        if not isinstance(target, typer.Typer):
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(self.entry.name)(target)
        command = typer.main.get_command(app)
        command.name = self.entry.name
        for each in (command, *getattr(command, "commands", {}).values()):
            each.help = _reflowed(each.help or "")
        return command

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """The context of the imported command, which therefore parses and runs."""
        return self.load().make_context(*arguments, **options)


def _reflowed(text: str) -> str:
    """Paragraphs of a docstring without its line breaks, which the terminal's width replaces."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def command_group(
    entries: Iterable[CommandEntry], summary: str, *, completion: bool = False
) -> TyperGroup:
    """A command line of lazily imported commands.

    Args:
        entries: the table of commands, in the order of `--help`.
        summary: first sentence of `--help`.
        completion: offer `--install-completion` and `--show-completion`.
    """
    app = typer.Typer(
        help=summary,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for entry in entries:
        group.add_command(LazyCommand(entry))
    return group


def run(group: TyperGroup, program: str) -> None:
    """Run a command line; an error becomes one sentence on stderr and an exit code.

    Args:
        group: see `command_group`.
        program: its name in usage lines and for shell completion.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when PyTorch is imported
    try:
        refuse_empty(sys.argv[1:])
        group(prog_name=program)
    except DRepMRecError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:  # a disk that is full, a folder that nobody may write
        place = "" if error.filename is None else f"{error.filename}: "
        sys.stderr.write(f"error: {place}{error.strerror or error}\n")
        sys.exit(DRepMRecError.exit_code)


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse empty arguments, which an unset variable of a shell leaves: as a path they would be
    the current folder. Empty environment variables mean the default.

    Raises:
        InputError: an argument is empty; names the one in front of it, or the option.
    """
    before = "the first argument"
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if not argument.strip():
            raise InputError(f"the value after {before} is empty")
        if option.startswith("--") and equals and not value.strip():
            raise InputError(f"{option}: the value is empty; leave the option out for its default")
        before = argument
