"""Command `experiment report`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bundle.errors import InputError
from bundle.events.outcomes import DAY
from bundle.json_file import read_json_file
from training.cli.options import (
    RedisCluster,
    RedisNamespace,
    RedisSentinel,
    State,
    Store,
    existing_store,
    state_file,
)
from training.refresh.redis_client import RedisOptions
from training.refresh.service_outcomes import OutcomeSource, RedisOutcomes, SqliteOutcomes

LAST_DAY = 10**6
"""A day after all others, in days since 1970."""

app = typer.Typer(
    help="Report which arm of an experiment won.",
    no_args_is_help=True,
    add_completion=False,
)
app.callback()(lambda: None)  # a group also with one command


@app.command()
def report(
    store: Store,
    experiment: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            envvar="DREPMREC_EXPERIMENT",
            help="The service's --experiment: JSON file with arms and shares.",
        ),
    ],
    control: Annotated[
        str | None,
        typer.Option(metavar="ARM", help="Arm that the others are compared with. [the first one]"),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="First day of the answers, UTC. [all]"
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="Last day of the answers, UTC. [all]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    state: State = None,
    redis_url: Annotated[
        str | None,
        typer.Option(envvar="DREPMREC_REDIS_URL", help="URL of the service's Redis."),
    ] = None,
    redis_namespace: RedisNamespace = "default",
    redis_cluster: RedisCluster = False,
    redis_sentinel: RedisSentinel = None,
) -> None:
    """Compare the arms of an experiment by the events that followed what they showed.

    Reads what services with --outcome-share keep in Redis or in the SQLite file. For each arm and
    type of event: users, answers (impressions), attributed events, their rate per answer and its
    lift over the control. Intervals and p-values take users as the units that chance assigned. They
    hold for one look at a time that was fixed before. Users who do not fit the shares of the arms
    are a sample ratio mismatch: the arms must not be compared then.
    """
    from bundle.search.experiment import Experiment  # loads the grammar of filters
    from training.evaluation.experiment_report import experiment_report  # loads scipy.stats

    found = read_json_file(experiment, Experiment)
    first = 0 if since is None else _day(since)
    last = LAST_DAY if until is None else _day(until)
    if first > last:
        raise InputError("--since is after --until")
    source: OutcomeSource
    path = state_file(existing_store(store), state)
    if redis_url:
        source = RedisOutcomes(
            redis_url, RedisOptions(redis_namespace, redis_cluster, redis_sentinel)
        )
    elif path is not None:
        source = SqliteOutcomes(path)
    else:
        raise InputError(f"--store {store}: has no state; give --state or --redis-url")
    counts = source.counts(found.name, first, last)
    result = experiment_report(found, control or found.arms[0].name, counts)
    if not any(arm.users for arm in result.arms):
        raise InputError(
            f"no answer of the experiment {found.name!r} is kept; a service remembers them with "
            "--outcome-share"
        )
    typer.echo(json.dumps(result.to_json(), indent=1) if as_json else result.text())


def _day(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp()) // DAY
