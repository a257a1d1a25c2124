"""Configuration: files, assignments, and what is refused."""

import json
from pathlib import Path

import pytest

from bundle.errors import InputError
from training.fitting.config import FitConfig, config_toml, load_config


def test_assignments_beat_the_file_which_beats_the_defaults(tmp_path: Path) -> None:
    toml = tmp_path / "config.toml"
    toml.write_text("min_weight = 4\n[model]\ndim = 32\nsss = 0.5\n[optim]\npatience = 3\n")
    config = load_config(toml, ["model.dim=16", "model.fusion=sum", "model.free_embedding=false"])
    assert config.model.dim == 16
    assert config.model.sss == 0.5
    assert config.model.fusion == "sum"
    assert config.model.free_embedding is False
    assert config.optim.patience == 3
    assert config.min_weight == 4
    assert config.optim.batch_size == FitConfig().optim.batch_size
    as_json = tmp_path / "config.json"
    as_json.write_text(json.dumps(config.model_dump(mode="json")))
    assert load_config(as_json, []) == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.dimm=3", "model.dimm: unknown key"),
        ("model.dim=0", "model.dim: .*greater than or equal to 1"),
        ("model.dim=many", "model.dim: .*integer"),
        ("model.temperature=nan", "model.temperature: "),
        ("model.sss=-1", "model.sss: "),
        ("model.fusion=glue", "model.fusion: .*'concat' or 'sum'"),
        ("model=3", "model: "),
        ("model.dim", "expected key=value"),
        ("=3", "expected key=value"),
    ],
)
def test_a_wrong_assignment_is_refused_by_name(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(None, [assignment])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.toml", "model = [", "c.toml: is not valid toml"),
        ("c.json", "{", "c.json: is not valid json"),
        ("c.json", "[]", "c.json: expected an object"),
        ("c.toml", "[model]\ncolour = 1", "model.colour: unknown key"),
        ("missing.toml", None, "missing.toml: cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_by_name(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(tmp_path / name, [])


def test_every_hyper_parameter_has_a_description() -> None:
    for section in ("model", "optim", "split"):
        fields = type(getattr(FitConfig(), section)).model_fields
        assert all(field.description for field in fields.values()), section


def test_a_configuration_as_toml_is_the_same_configuration(tmp_path: Path) -> None:
    config = load_config(
        None, ["min_weight=4", "model.sss=1e-5", "model.fusion=sum", "model.free_embedding=false"]
    )
    for each in (config, FitConfig()):
        (tmp_path / "c.toml").write_text(config_toml(each))
        assert load_config(tmp_path / "c.toml", []) == each


@pytest.mark.parametrize(
    "other",
    [
        "model.backbone=lightgcn",
        "model.user_layers=1",
        "model.line_ranking=0.5",
        "model.intra_alignment=0.1",
        "model.ranking=bpr",
        "model.history_parts=0",
    ],
)
def test_single_interactions_are_ranked_where_histories_cannot_be(other: str) -> None:
    assert load_config(None, []).model.whole_histories
    assert not load_config(None, [other]).model.whole_histories


def test_a_history_of_one_part_is_refused() -> None:
    with pytest.raises(InputError, match=r"model: .*history_parts must be 0 or at least 2"):
        load_config(None, ["model.history_parts=1"])
