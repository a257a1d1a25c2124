"""Command `demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Argument(help="Output folder; must be empty if it exists.")],
    items: Annotated[int, typer.Option(min=1, help="Number of items.")] = 3000,
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 7,
) -> None:
    """Generate a synthetic shop: drawn pictures, titles, and users with known preferences."""
    from training.demo.catalogue import make_catalogue

    truth = make_catalogue(out, n_items=items, n_users=users, seed=seed)
    typer.echo(f"{out}: {len(truth.looks)} items with pictures, {len(truth.tastes)} users")
