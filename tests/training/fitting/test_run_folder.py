"""The folder of a fit: one process at a time, and checkpoints that are whole or not there."""

from pathlib import Path

import pytest
import torch

from bundle.errors import StoreError
from training.fitting.averaging import ParameterAverage
from training.fitting.checkpoint import Progress, save_checkpoint
from training.fitting.run_folder import run_folder


def test_a_folder_is_that_of_one_fit_at_a_time(tmp_path: Path) -> None:
    with run_folder(tmp_path / "run"):
        refused = pytest.raises(StoreError, match="another process is fitting there")
        with refused, run_folder(tmp_path / "run"):
            pass
        with run_folder(tmp_path / "other"):
            pass
    with run_folder(tmp_path / "run"):
        pass


def test_a_full_disk_is_named_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    model = torch.nn.Linear(400, 400)
    optimiser, average = torch.optim.Adam(model.parameters()), ParameterAverage(model, 0.9)
    parts = (Progress(), model, optimiser, average, torch.Generator())
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "before", *parts)
    before = path.read_bytes()
    (tmp_path / "checkpoint.new").symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"checkpoint\.pt: .* \(No space left on device\)"):
        save_checkpoint(path, "after", *parts)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    save_checkpoint(path, "after", *parts)
    assert path.read_bytes() != before
