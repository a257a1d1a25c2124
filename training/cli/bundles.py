"""Commands `bundles list|show|verify|rollback|pin|unpin|collect`."""

from typing import Annotated

import typer

from bundle.errors import StoreError
from bundle.store import retention
from training.cli.options import Cache, Store, existing_store

Version = Annotated[str, typer.Argument(help="Version of the bundle.")]

app = typer.Typer(
    help="List, inspect, verify, roll back and delete the bundles of a store.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
def list_bundles(store: Store) -> None:
    """List all complete bundles, oldest first; a star marks the live one."""
    bundle_store = existing_store(store)
    live = bundle_store.live_version()
    versions = bundle_store.versions()
    if not versions:
        typer.echo(f"note: {store} has no bundles", err=True)
    for version in versions:
        manifest = bundle_store.manifest(version)
        mark = "*" if version == live else " "
        pinned = ", pinned" if retention.pinned(bundle_store, version) else ""
        typer.echo(
            f"{mark} {version}  {manifest.n_users} users × {manifest.n_items} items × "
            f"{manifest.dim}, {manifest.size / 1e6:.1f} MB{pinned}"
        )


@app.command()
def show(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="Version. [the live one]")] = None,
) -> None:
    """Print a bundle's manifest as JSON."""
    bundle_store = existing_store(store)
    typer.echo(bundle_store.manifest(version or bundle_store.current()).model_dump_json(indent=1))


@app.command()
def verify(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="Version. [all]")] = None,
    cache: Cache = None,
) -> None:
    """Open bundles as the service does: checksums, shapes, encoders."""
    bundle_store = existing_store(store, cache)
    versions = [version] if version else bundle_store.versions()
    if not versions:
        raise StoreError(f"{store}: has no bundles to verify")
    for each in versions:
        bundle_store.verify(each)
        typer.echo(f"{each}: whole")


@app.command()
def rollback(
    store: Store,
    version: Annotated[
        str | None, typer.Argument(help="Version. [the parent of the live one]")
    ] = None,
    cache: Cache = None,
) -> None:
    """Make an earlier bundle the live one."""
    typer.echo(f"live: {existing_store(store, cache).rollback(version)}")


@app.command()
def pin(store: Store, version: Version) -> None:
    """Exclude a bundle from `collect`."""
    retention.pin(existing_store(store), version)


@app.command()
def unpin(store: Store, version: Version) -> None:
    """Remove a bundle's pin, so that `collect` may delete it."""
    retention.unpin(existing_store(store), version)


@app.command()
def collect(
    store: Store,
    keep: Annotated[int, typer.Option(min=1, help="Number of newest bundles to keep.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be deleted; delete nothing.")
    ] = False,
) -> None:
    """Delete old bundles and leftovers of killed jobs.

    The live bundle and pinned bundles are always kept.
    """
    done = "would be deleted" if dry_run else "deleted"
    for version in retention.collect(existing_store(store), keep, dry_run=dry_run):
        typer.echo(f"{done}: {version}")
