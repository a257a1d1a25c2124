"""`bundles list|show|verify|rollback`."""

from typing import Annotated

import typer

from bundle.store import BundleStore
from training.commands.options import Store

app = typer.Typer(
    help="List, show, verify and roll back the bundles of a store.", no_args_is_help=True
)


@app.command("list")
def list_bundles(store: Store) -> None:
    """All whole bundles, oldest first; the live one is marked."""
    bundle_store = BundleStore(store)
    live = bundle_store.live_version()
    for version in bundle_store.versions():
        manifest = bundle_store.manifest(version)
        mark = "*" if version == live else " "
        typer.echo(
            f"{mark} {version}  {manifest.n_users} users × {manifest.n_items} items × "
            f"{manifest.dim}, {manifest.size / 1e6:.1f} MB"
        )


@app.command()
def show(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="The live one if absent.")] = None,
) -> None:
    """The manifest as JSON."""
    bundle_store = BundleStore(store)
    typer.echo(bundle_store.manifest(version or bundle_store.current()).model_dump_json(indent=1))


@app.command()
def verify(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="All of them if absent.")] = None,
) -> None:
    """Open bundles as the service would: checksums, shapes, encoders."""
    bundle_store = BundleStore(store)
    for each in [version] if version else bundle_store.versions():
        bundle_store.load(each)
        typer.echo(f"{each}: whole")


@app.command()
def rollback(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="The live one's parent if absent.")] = None,
) -> None:
    """Make an earlier bundle the live one."""
    typer.echo(f"live: {BundleStore(store).rollback(version)}")
