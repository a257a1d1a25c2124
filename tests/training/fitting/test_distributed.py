"""The process group of a fit: the caller's, that of `torchrun`, or none."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed

from bundle.errors import InputError
from tests.support.cli import torchrun
from tests.support.running.processes import environment_with_tests
from tests.training.fitting.small_fit import SMALL
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.config import RunOptions, load_config
from training.fitting.distributed import ProcessGroup, is_first
from training.fitting.trainer import fit_model

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


@pytest.mark.slow
def test_a_group_that_ended_has_no_threads(tmp_path: Path) -> None:
    script = tmp_path / "left.py"
    script.write_text(LEFT)
    torchrun(script)


def test_a_group_of_the_caller_is_not_kept() -> None:
    """Kept as a default argument, its threads would now and then abort the process at its end."""
    subprocess.run([sys.executable, "-c", NOT_KEPT], env=environment_with_tests(), check=True)


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
