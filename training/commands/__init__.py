"""The command line: a function for each command; results on stdout, progress on stderr.

Commands import torch, and what does, when they are called: the others need not wait for it.
"""

import typer

from training.commands import bundles
from training.commands.content import demo, encoders, features
from training.commands.evaluate import evaluate
from training.commands.fit import fit, show_config
from training.commands.refresh import refresh
from training.commands.tune import tune

app = typer.Typer(
    name="python -m training",
    help="Train DRepMRec, evaluate it and look after the store that the service reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (fit, refresh, tune, evaluate, features, encoders, demo):
    app.command()(command)
app.command("config")(show_config)
app.add_typer(bundles.app, name="bundles")
