"""Fits on several processes: their group is the caller's or that of `torchrun`."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from tests.support.cli import torchrun
from tests.support.data.datasets import write_tables
from tests.support.data.planted_groups import planted_dataset
from tests.support.running.processes import environment_with_tests
from tests.support.waiting import DEADLINE
from tests.training.fitting.test_trainer import SMALL
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.config import RunOptions, load_config
from training.fitting.distributed import ProcessGroup, is_first
from training.fitting.trainer import fit_model

EPOCHS = ["optim.max_epochs=5", "optim.patience=5"]

IN_A_GROUP = """
import json, os, sys
from pathlib import Path
import torch
from torch import distributed
from bundle.errors import InputError
from training.cli.fit import fit
from training.fitting.distributed import ProcessGroup
rank, rendezvous, data, run, options = sys.argv[1:]
distributed.init_process_group(
    "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=2
)
try:
    with ProcessGroup.joined("cuda"):
        raise AssertionError("gloo must not be used with tensors on GPUs")
except InputError as error:
    assert "cuda:gloo, and a fit on cuda needs nccl" in str(error), error
try:
    fit(Path(data), run=Path(run), threads=1, **json.loads(options))
except InputError as error:
    print("refused:", error)
ones = torch.ones(3)
distributed.all_reduce(ones)
assert ones.tolist() == [2, 2, 2]
distributed.destroy_process_group()
print("the group still works")
"""

LEFT = """
import importlib
from pathlib import Path
from training.fitting.distributed import ProcessGroup
def threads():
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}
with ProcessGroup.joined("cpu") as group:
    importlib.import_module("torch._dynamo")  # as the first step of an optimiser does
    assert "pt_gloo_runloop" in threads()
    group.from_first(int)
assert "pt_gloo_runloop" not in threads()
"""

NOT_KEPT = """
import inspect
from torch import distributed
import training.fitting.distributed
distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
from torch.distributed.nn import functional  # as the first step of an optimiser does
kept = [f.__defaults__ for f in vars(functional).values() if inspect.isfunction(f)]
assert not any(isinstance(value, distributed.ProcessGroup) for of in kept for value in of or ())
distributed.destroy_process_group()
"""

KILLED_ONCE = """
import json, os, signal, sys
from pathlib import Path
from training.cli.fit import fit
from training.fitting import trainer
fit_model = trainer.fit_model
def kill(progress):
    # The second process is in its third epoch only if the first has written two checkpoints.
    place = (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], progress.epoch)
    if place == ("1", "0", 3):
        os.kill(os.getpid(), signal.SIGKILL)
trainer.fit_model = lambda *inputs, **options: fit_model(*inputs, **options, after_epoch=kill)
data, options = sys.argv[1:]
fit(Path(data), threads=1, resume=True, **json.loads(options))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted groups."""
    dataset = planted_dataset()
    pairs = zip(dataset.interactions.user_idx, dataset.interactions.item_idx, strict=True)
    log = [{"user_id": dataset.users[u], "item_id": dataset.items[i]} for u, i in pairs]
    items = [{"item_id": item} for item in dataset.items.ids]
    folder = write_tables(tmp_path_factory.mktemp("data"), log=log, items=items)
    for name, modality in dataset.modalities.items():
        np.save(folder / f"{name}_feat.npy", modality.features)
    return folder


@pytest.fixture(scope="module")
def by_torchrun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a fit by two processes that `torchrun` started and that nothing disturbed."""
    store = tmp_path_factory.mktemp("torchrun") / "store"
    options = [x for assignment in [*SMALL, *EPOCHS] for x in ("--set", assignment)]
    done = torchrun("-m", "training", "fit", data, "--store", store, "--threads", "1", *options)
    assert done.stdout.count("published ") == 1
    return store


def in_a_group(tmp_path: Path, data: Path, runs: Sequence[Path], **options: Any) -> list[str]:
    """Run `fit` in two processes that have started a group, and return what each prints.

    The variables of `torchrun` say something else, as those of an outer launcher would.

    Args:
        tmp_path: an empty folder in which the processes find each other.
        data: folder of data.
        runs: `--run` of each process.
        options: keyword arguments of `fit`.
    """
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", IN_A_GROUP),
                *map(str, (rank, tmp_path / "rendezvous", data, run)),
                json.dumps({"assignments": [*SMALL, *EPOCHS]} | options),
            ],
            env=environment_with_tests(RANK="0", WORLD_SIZE="9"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, run in enumerate(runs)
    ]
    try:
        printed = [process.communicate(timeout=DEADLINE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, messages) in zip(processes, printed, strict=True):
        assert process.returncode == 0, messages
    return [results for results, _ in printed]


def assert_same_vectors(one: Bundle, two: Bundle) -> None:
    np.testing.assert_array_equal(one.item_vectors, two.item_vectors)
    np.testing.assert_array_equal(one.user_vectors, two.user_vectors)


@pytest.mark.slow
def test_a_group_of_the_caller_fits_what_torchrun_fits(
    data: Path, by_torchrun: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first, second = in_a_group(tmp_path, data, [tmp_path / "run"] * 2, store=str(store))
    assert "published " in first
    assert first.endswith("the group still works\n")
    assert second == "the group still works\n"
    assert_same_vectors(BundleStore(store).load(), BundleStore(by_torchrun).load())


@pytest.mark.slow
def test_a_group_that_ended_has_no_threads(tmp_path: Path) -> None:
    script = tmp_path / "left.py"
    script.write_text(LEFT)
    torchrun(script)


def test_a_group_of_the_caller_is_not_kept() -> None:
    """Kept as a default argument, its threads would now and then abort the process at its end."""
    subprocess.run([sys.executable, "-c", NOT_KEPT], env=environment_with_tests(), check=True)


@pytest.mark.slow
def test_a_fit_of_which_a_process_is_killed_is_restarted_and_resumed(
    data: Path, by_torchrun: Path, tmp_path: Path
) -> None:
    store, script = tmp_path / "store", tmp_path / "killed_once.py"
    script.write_text(KILLED_ONCE)
    options = json.dumps({"store": str(store), "assignments": [*SMALL, *EPOCHS]})
    done = torchrun("--max-restarts", "1", script, data, options)
    line = f"no checkpoint in {store / 'run'}: the fit starts from the beginning\n"
    assert done.stderr.count(line) == 1
    assert done.stderr.count("epoch 1:") == 1
    assert done.stdout.count("best epoch ") == 1
    assert done.stdout.count("published ") == 1
    bundle, undisturbed = BundleStore(store).load(), BundleStore(by_torchrun).load()
    assert len(bundle.report["history"]) == len(undisturbed.report["history"]) == 5
    assert_same_vectors(bundle, undisturbed)


@pytest.mark.slow
def test_a_checkpoint_that_not_all_processes_see_is_refused_by_all(
    data: Path, by_torchrun: Path, tmp_path: Path
) -> None:
    runs = [by_torchrun / "run", tmp_path / "elsewhere"]
    refusals = in_a_group(tmp_path, data, runs, store=str(tmp_path / "store"), resume=True)
    for run, printed in zip(runs, refusals, strict=True):
        assert f"refused: {run / 'checkpoint.pt'}: only 1 of 2 processes see" in printed
        assert printed.endswith("the group still works\n")


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    place = f"file://{tmp_path / 'rendezvous'}"
    distributed.init_process_group("gloo", init_method=place, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def fit_here(dataset: Dataset, split: Split, directory: Path) -> dict[str, torch.Tensor]:
    config = load_config(None, [*SMALL, "optim.max_epochs=2"])
    parts = (split, dataset.modalities, dataset.fingerprint, config, RunOptions(threads=1))
    return dict(fit_model(*parts, directory)[0].state_dict())


def test_a_group_of_one_fits_what_one_process_fits(
    dataset: Dataset,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    alone = fit_here(dataset, split, tmp_path / "alone")
    request.getfixturevalue("group_of_one")
    monkeypatch.setenv("WORLD_SIZE", "1")
    grouped = fit_here(dataset, split, tmp_path / "grouped")
    assert distributed.is_initialized()
    assert all(torch.equal(value, grouped[name]) for name, value in alone.items())


def pretend_group(monkeypatch: pytest.MonkeyPatch, back_ends: str) -> None:
    """A group of two processes as PyTorch describes it, of which this is the second."""
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "get_backend_config", lambda: back_ends)


@pytest.mark.parametrize(
    ("back_ends", "device", "needed"),
    [
        ("cpu:gloo,cuda:gloo", "cuda", "nccl"),
        ("cpu:gloo", "cuda", "nccl"),
        ("cuda:nccl", "cpu", "gloo"),
    ],
)
def test_a_back_end_that_does_not_fit_the_device_is_refused(
    monkeypatch: pytest.MonkeyPatch, back_ends: str, device: str, needed: str
) -> None:
    pretend_group(monkeypatch, back_ends)
    message = f"has the back end {back_ends}, and a fit on {device} needs {needed}: "
    with pytest.raises(InputError, match=message), ProcessGroup.joined(device):
        pass


def test_the_gpu_is_that_of_local_rank_or_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_group(monkeypatch, "cpu:gloo,cuda:nccl")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setenv("LOCAL_RANK", "5")
    with ProcessGroup.joined("cuda") as group:
        assert group == ProcessGroup(1, 2, torch.device("cuda", 5))
    monkeypatch.delenv("LOCAL_RANK")
    with ProcessGroup.joined("cuda") as group:
        assert group == ProcessGroup(1, 2, torch.device("cuda", 3))
    with ProcessGroup.joined("cpu") as group:
        assert group == ProcessGroup(1, 2, torch.device("cpu"))


@pytest.mark.parametrize(("processes_here", "key"), [("2", "restart 1/address"), ("1", "address")])
def test_processes_of_one_node_see_no_addresses_from_before_a_restart(
    monkeypatch: pytest.MonkeyPatch, processes_here: str, key: str
) -> None:
    """Those of several nodes have no number of restarts that is the same for all."""
    kept = distributed.HashStore()  # type: ignore[attr-defined]  # documented, not in `__all__`
    pretend_group(monkeypatch, "cpu:gloo")
    monkeypatch.setattr(distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(distributed, "rendezvous", lambda _: iter([(kept, 1, 2)]))
    monkeypatch.setattr(
        distributed,
        "init_process_group",
        lambda _, *, store, rank, world_size: store.set("address", f"{rank} of {world_size}"),
    )
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": processes_here}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with ProcessGroup.joined("cpu") as group:
        assert group == ProcessGroup(1, 2, torch.device("cpu"))
    assert kept.get(key) == b"1 of 2"


def test_the_first_process_is_that_of_the_group_or_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first()
    monkeypatch.setenv("RANK", "2")
    assert not is_first()
    monkeypatch.setenv("RANK", "0")
    assert is_first()
    pretend_group(monkeypatch, "cpu:gloo")
    assert not is_first()
