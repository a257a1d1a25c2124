"""`bundles list|show|verify|rollback|pin|unpin|collect`."""

from typing import Annotated

import typer

from bundle import retention
from bundle.store import BundleStore
from training.commands.options import Cache, Store

Version = Annotated[str, typer.Argument(help="The bundle.")]

app = typer.Typer(help="Look after the bundles of a store.", no_args_is_help=True)


@app.command("list")
def list_bundles(store: Store) -> None:
    """All whole bundles, oldest first; the live one has a star."""
    bundle_store = BundleStore(store)
    live = bundle_store.live_version()
    for version in bundle_store.versions():
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
    version: Annotated[str | None, typer.Argument(help="The live one if absent.")] = None,
) -> None:
    """The manifest as JSON."""
    bundle_store = BundleStore(store)
    typer.echo(bundle_store.manifest(version or bundle_store.current()).model_dump_json(indent=1))


@app.command()
def verify(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="All of them if absent.")] = None,
    cache: Cache = None,
) -> None:
    """Open bundles as the service would: checksums, shapes, encoders."""
    bundle_store = BundleStore(store, cache)
    for each in [version] if version else bundle_store.versions():
        bundle_store.verify(each)
        typer.echo(f"{each}: whole")


@app.command()
def rollback(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="The live one's parent if absent.")] = None,
    cache: Cache = None,
) -> None:
    """Make an earlier bundle the live one."""
    typer.echo(f"live: {BundleStore(store, cache).rollback(version)}")


@app.command()
def pin(store: Store, version: Version) -> None:
    """Let a bundle stay whatever its age."""
    retention.pin(BundleStore(store), version)


@app.command()
def unpin(store: Store, version: Version) -> None:
    """Let a bundle go by its age again."""
    retention.unpin(BundleStore(store), version)


@app.command()
def collect(
    store: Store,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest stay.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
) -> None:
    """Delete old bundles, but never the live one or a pinned one; and leftovers of killed jobs."""
    done = "would go" if dry_run else "gone"
    for version in retention.collect(BundleStore(store), keep, dry_run=dry_run):
        typer.echo(f"{done}: {version}")
