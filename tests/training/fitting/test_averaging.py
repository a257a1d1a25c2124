"""Averaged parameters: the recurrence, what is evaluated and returned, warm starts."""

from pathlib import Path

import pytest
import torch

from tests.training.fitting.small_fit import run_fit, same
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.averaging import ParameterAverage
from training.fitting.checkpoint import Names
from training.fitting.config import RunOptions, load_config
from training.fitting.trainer import CHECKPOINT, fit_model


def test_the_average_is_the_recurrence_with_a_ramp_and_the_model_gets_its_own_values_back() -> None:
    model = torch.nn.Linear(3, 1, bias=False)
    average = ParameterAverage(model, 0.5)
    expected, parameter = model.weight.detach().clone(), model.weight
    for step, decay in enumerate(
        [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 0.5, 0.5]
    ):
        with torch.no_grad():
            parameter += step
        average.update()
        expected = decay * expected + (1 - decay) * parameter.detach()
    own = parameter.detach().clone()
    with average.applied():
        assert model.weight is parameter, "the optimiser's parameter"
        torch.testing.assert_close(parameter.detach(), expected)
    assert torch.equal(parameter, own)
    with pytest.raises(KeyboardInterrupt), average.applied():
        raise KeyboardInterrupt
    assert torch.equal(parameter, own)


def test_a_fit_with_averaging_trains_the_same_steps_and_returns_their_average(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    one, plain = run_fit(dataset, split, tmp_path / "plain", epochs=3, more=["optim.averaging=0"])
    two, averaged = run_fit(
        dataset, split, tmp_path / "averaged", epochs=3, more=["optim.averaging=0.9"]
    )
    assert [e["loss"] for e in plain.history] == [e["loss"] for e in averaged.history]
    assert not same(one, two)
    read = [torch.load(tmp_path / run / CHECKPOINT) for run in ("plain", "averaged")]
    assert all(
        torch.equal(value, read[1]["model"][name]) for name, value in read[0]["model"].items()
    )
    if averaged.best_epoch == 3:
        parameters = [value.detach() for value in two.parameters()]
        assert all(map(torch.equal, read[1]["average"]["means"], parameters))


def test_a_warm_start_begins_with_the_average_of_the_last_fit(
    dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    """With a learning rate that changes nothing, the first average is what was copied."""
    names = Names(dataset.users.ids, dataset.items.ids)
    fixed = ["model.dim=8", "model.negatives=16", "optim.batch_size=64", "optim.averaging=0.9"]
    config = load_config(None, [*fixed, "optim.max_epochs=2", "optim.learning_rate=0.02"])
    still = load_config(None, [*fixed, "optim.max_epochs=1", "optim.learning_rate=1e-30"])
    inputs = (split, dataset.modalities, dataset.fingerprint)
    first, _ = fit_model(*inputs, config, RunOptions(), tmp_path, names=names)
    warm, _ = fit_model(*inputs, still, RunOptions(seed=1), tmp_path, names=names, warm=True)
    for name, value in warm.named_parameters():
        torch.testing.assert_close(value, first.get_parameter(name), msg=name)
