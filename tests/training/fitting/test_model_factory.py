"""Loss terms that have nothing to do."""

from dataclasses import replace

import pytest

from models.config import ModelConfig
from training.data.dataset import Dataset
from training.fitting.model_factory import without_effect

ALL = ModelConfig(sss=0.3, inter_alignment=0.1, modality_alignment=0.1)


def test_terms_without_modalities_are_named() -> None:
    keys = ("model.sss", "model.inter_alignment", "model.modality_alignment")
    assert without_effect({}, ALL) == [
        f"the data have no modality: no modal line, no effect of {key}" for key in keys
    ]
    assert without_effect({}, ModelConfig(sss=0)) == []


@pytest.mark.parametrize("sss", [0.0, 0.3])
def test_a_modality_without_features_is_named_where_sss_is_asked_for(
    dataset: Dataset, sss: float
) -> None:
    text = dataset.modalities["text"]
    graph = replace(text, features=text.features[:, :0])
    config = ALL.model_copy(update={"sss": sss})
    assert without_effect(dataset.modalities, config) == []
    expected = ["text has a graph but no features: model.sss leaves it out"] if sss else []
    assert without_effect({**dataset.modalities, "text": graph}, config) == expected
    one = "the data have one modality: no effect of model.modality_alignment"
    assert without_effect({"text": graph}, config) == [*expected, one]
