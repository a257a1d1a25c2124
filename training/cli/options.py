"""Options and steps that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from bundle.errors import InputError
from bundle.events.keys import STATE_FILE
from bundle.json_file import read_json_file
from bundle.store.store import BundleStore
from training.data.dataset import Dataset
from training.data.load import read_dataset
from training.data.split import Split, make_split
from training.fitting.config import FitConfig, RunOptions

if TYPE_CHECKING:
    from bundle.search.options import RankingOptions

Data = Annotated[Path, typer.Argument(help="Folder with interactions and features.")]
Store = Annotated[
    str, typer.Option(help="Bundle store: a directory, or a URL (s3://, gs://, az://…).")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Directory for local copies of an object store's bundles. [~/.cache/drepmrec]"
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Device that models are fitted on.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML or JSON file with hyper-parameters.")
]
Force = Annotated[
    str | None,
    typer.Option(
        metavar="REASON",
        help="Publish even if the gate refuses; the manifest stores the reason.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a configuration value, e.g. model.dim=32; repeatable.",
    ),
]

State = Annotated[
    Path | None,
    typer.Option(
        envvar="DREPMREC_STATE",
        help="SQLite file of the service's --state, read if there is no Redis.",
    ),
]
RedisNamespace = Annotated[
    str,
    typer.Option(
        envvar="DREPMREC_REDIS_NAMESPACE",
        help="Namespace of the Redis keys; the service's --redis-namespace.",
    ),
]
RedisCluster = Annotated[
    bool,
    typer.Option(
        "--redis-cluster",
        envvar="DREPMREC_REDIS_CLUSTER",
        help="Treat the URL as a Redis Cluster.",
    ),
]
RedisSentinel = Annotated[
    str | None,
    typer.Option(
        envvar="DREPMREC_REDIS_SENTINEL",
        help="Name of the master; treat the URL as a Redis Sentinel.",
    ),
]
OptionsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="JSON file with search options, as an experiment's arm has them: diversity, weights, "
        "boost, filter, exclude_seen.",
    ),
]
GateOptions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="JSON file with search options, as for evaluate --options, with which the gate "
        "compares both bundles.",
    ),
]
IndexMemory = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="GIB",
        help="Size in GiB that the indexes of 50,000 items or more may have. Items that do not fit "
        "as vectors are indexed as codes of a byte for each number, or for four of them. "
        "[fit: 4; refresh: that of the live bundle]",
    ),
]


def index_budget(gib: float) -> int:
    """Bytes of `--index-memory`."""
    return int(gib * 1024**3)


def existing_store(store: str, cache: Path | None = None) -> BundleStore:
    """A store that another command has made; a mistyped name must not make a new one.

    Raises:
        InputError: there is no such folder.
    """
    found = BundleStore(store, cache)
    if isinstance(found.root, Path) and not found.root.is_dir():
        raise InputError(f"--store {store}: there is no such folder")
    return found


def state_file(store: BundleStore, state: Path | None) -> Path | None:
    """The SQLite file that a service with the same options keeps its state in, if there is one."""
    if state is None and isinstance(store.root, Path) and (store.root / STATE_FILE).exists():
        return store.root / STATE_FILE
    return state


def ranking_options(path: Path | None) -> "RankingOptions | None":
    """The search options of a file; None without a file.

    Raises:
        InputError: the file cannot be read, or an option is unknown or out of range.
    """
    # Loads the grammar of filters, which most commands do without.
    from bundle.search.options import RankingOptions

    return read_json_file(path, RankingOptions) if path else None


def run_options(seed: int, device: Literal["cpu", "cuda"], threads: int) -> RunOptions:
    """Run options, checked against the hardware.

    Raises:
        InputError: `device` is not available.
    """
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no CUDA device")
    return RunOptions(seed=seed, device=device, threads=threads)


def read_and_split(data: Path, config: FitConfig) -> tuple[Dataset, Split]:
    """Read a data folder and split it as the configuration says.

    Raises:
        InputError: the data are invalid, or cannot be split this way.
    """
    dataset = read_dataset(data, min_weight=config.min_weight)
    return dataset, make_split(dataset, config.split, np.random.default_rng(config.split.seed))
