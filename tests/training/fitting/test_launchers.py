"""Fits on several processes that `torchrun` or another launcher started."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from tests.support.cli import torchrun
from tests.support.data.datasets import write_tables
from tests.support.data.planted_groups import planted_dataset
from tests.support.running.processes import environment_with_tests
from tests.support.waiting import DEADLINE
from tests.training.fitting.small_fit import SMALL

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
