"""Command `recommend`."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from bundle.errors import InputError
from bundle.search.options import RankingOptions
from bundle.store.store import BundleStore
from training.bulk.recommendations import FOLDER, BulkRecommender, Shard
from training.bulk.users import read_users
from training.cli.options import Cache, OptionsFile, Store, existing_store, ranking_options

ALL = "all"


def recommend(
    store: Store,
    out: Annotated[
        str,
        typer.Option(help="Folder for the files, or a URL (s3://, gs://, az://…)."),
    ],
    users: Annotated[
        str,
        typer.Option(
            metavar="all|FILE",
            help="Users: all of the bundle, or a Parquet, CSV or JSON lines file with a column "
            "user_id.",
        ),
    ] = ALL,
    k: Annotated[int, typer.Option(min=1, max=1000, help="Items for each user.")] = 100,
    version: Annotated[str | None, typer.Option(help="Version. [the live one]")] = None,
    options: OptionsFile = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Share of the work of one of N processes, I from 0; all write to the same --out.",
        ),
    ] = "0/1",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")] = 0,
    cache: Cache = None,
) -> None:
    """Write the recommendations of many users as Parquet files.

    They are those of GET /recommend for users without events since the bundle was made, by the same
    search code: refresh first to have these in them. Users that the bundle does not know, or that
    have no interactions, get popular items (column source). A file has up to 16,384 users with the
    columns user_id, item_id, score, rank, source and bundle_version. An interrupted run is
    continued by the same command.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"--shard {shard}: expected I/N with I from 0 to N - 1, e.g. 0/4")
    ids = None if users == ALL else read_users(Path(users))
    arm = ranking_options(options) or RankingOptions()
    bundle = existing_store(store, cache).load(version)
    n_threads = threads or len(os.sched_getaffinity(0))
    recommender = BulkRecommender(bundle, ids, arm, k, n_threads)
    made = recommender.write(BundleStore(out, cache).storage, Shard(int(found[1]), int(found[2])))
    popular = f", {made.popular:,} of them popular items" if made.popular else ""
    typer.echo(f"{bundle.version}: recommendations for {made.users:,} users{popular}")
    rest = made.blocks - made.present
    missing = f"; {rest:,} are still missing, of other shards" if rest else ""
    typer.echo(f"{out}/{FOLDER}: {made.present:,} of {made.blocks:,} files{missing}")
