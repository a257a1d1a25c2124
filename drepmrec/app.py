"""Command line `drepmrec`: the commands of training and the delegated ones in one list."""

from typing import Any

import typer
from typer.core import TyperGroup

from drepmrec.delegated import DELEGATED, delegate
from training.cli.lazy import command_group
from training.cli.main import COMMANDS

SUMMARY = "Train, evaluate and serve DRepMRec, a multimodal recommender."


def build() -> TyperGroup:
    """The group of all commands."""
    group = command_group(COMMANDS, SUMMARY, completion=True)
    for name in DELEGATED:
        group.add_command(_passed_on(name))
    return group


def _passed_on(name: str) -> Any:
    """A command that takes any arguments and hands them to `delegate`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(
        name,
        help=DELEGATED[name].summary,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def passed_on(context: typer.Context) -> None:
        delegate(name, context.args)

    command = typer.main.get_command(app)
    command.name = name
    return command
