"""Small bundles with random vectors and real ONNX encoders, for tests and benchmarks.

Nothing here is trained: every result can be recomputed with NumPy from the arrays handed in.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundle.csr import Csr
from bundle.format.manifest import Part
from bundle.format.writer import BundleContents, EncoderSample
from bundle.ids import IdMap
from bundle.store.store import BundleStore
from bundle.types import Floats

MODALITIES = {"image": 6, "text": 4}
SAMPLE = 4
HISTORY = 3


def make_contents(
    n_users: int = 200,
    n_items: int = 120,
    dim: int = 16,
    *,
    rng: np.random.Generator,
    user_ids: Sequence[str] | None = None,
    no_interactions: float = 0.1,
    n_heavy: int = 2,
    mean_history: int = 10,
    modalities: Mapping[str, int] = MODALITIES,
    weights: Mapping[str, Floats] | None = None,
    parent_version: str | None = None,
) -> BundleContents:
    """A bundle of random unit vectors.

    Args:
        n_users: U; their ids are `user-0`, `user-1`, … unless user_ids [U] are given.
        n_items: I; their ids are `item-0`, `item-1`, …
        dim: D, at least 4.
        rng: source of everything random.
        user_ids: ids of the users in row order.
        no_interactions: share of users with a zero vector and no seen items; they are the last
            rows, at least one if the share is positive.
        n_heavy: how many of the first users have seen all items but three.
        mean_history: seen items of the others, about.
        modalities: name → F_m, inputs of the item encoder.
        weights: [F_m, D] of the item encoder by modality; random ones by default.
        parent_version: see `Manifest`.
    """
    users = IdMap(user_ids or [f"user-{u}" for u in range(n_users)], "user_id")
    items = IdMap([f"item-{i}" for i in range(n_items)], "item_id")
    user_vectors = _unit_rows(rng, n_users, dim)
    n_empty = max(1, int(no_interactions * n_users)) if no_interactions else 0
    user_vectors[n_users - n_empty :] = 0
    item_vectors = _unit_rows(rng, n_items, dim)
    weights = weights or {name: _unit_rows(rng, width, dim) for name, width in modalities.items()}
    return BundleContents(
        users=users,
        items=items,
        user_vectors=user_vectors,
        item_vectors=item_vectors,
        item_parts=item_vectors,
        parts=_parts(dim, list(modalities)),
        modalities=dict(modalities),
        seen=_seen(rng, n_users - n_empty, n_empty, n_items, n_heavy, mean_history),
        item_table=pa.table(
            {
                "item_id": items.ids,
                "title": [f"Item {i}" if i % 7 else None for i in range(n_items)],
                "category": [f"category-{i % 5}" for i in range(n_items)],
            }
        ),
        user_encoder=user_encoder(dim),
        item_encoder=item_encoder(weights, dim),
        encoder_sample=_sample(rng, weights, dim),
        config={"model": "random", "dim": dim},
        report={"ndcg@20": 0.1, "recall@20": 0.2},
        data_fingerprint="0" * 64,
        parent_version=parent_version,
    )


def publish(store: BundleStore, seed: int = 0) -> str:
    """Publish a small bundle, whose parent is the live one."""
    rng = np.random.default_rng(seed)
    parent = store.live_version()
    return store.publish(make_contents(60, 40, 8, rng=rng, parent_version=parent))


def user_encoder(dim: int) -> bytes:
    """ONNX: user vector = weighted mean of the item vectors where mask is 1; 0 without any."""
    shape: list[str | int] = ["B", "H"]
    nodes = [
        helper.make_node("Mul", ["mask", "weights"], ["used"]),
        helper.make_node("Unsqueeze", ["used", "last"], ["column"]),
        helper.make_node("Mul", ["item_vectors", "column"], ["scaled"]),
        helper.make_node("ReduceSum", ["scaled", "history_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["used", "history_axis"], ["weight"], keepdims=1),
        helper.make_node("Max", ["weight", "tiny"], ["divisor"]),
        helper.make_node("Div", ["total", "divisor"], ["user_vectors"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "last": np.array([2], np.int64),
        "history_axis": np.array([1], np.int64),
        "tiny": np.array(1e-9, np.float32),
    }
    inputs = {"item_vectors": [*shape, dim], "mask": shape, "weights": shape}
    return _model(nodes, inputs, ("user_vectors", ["B", dim]), constants)


def item_encoder(weights: Mapping[str, Floats], dim: int) -> bytes:
    """ONNX: item vector = Σ_m present_m · features_m @ weights_m, weights_m [F_m, D]."""
    nodes = []
    constants: dict[str, NDArray[np.generic]] = {}
    for m, (name, weight) in enumerate(weights.items()):
        constants[f"{name}.weight"] = weight
        constants[f"{name}.column"] = np.array([m], np.int64)
        nodes += [
            helper.make_node("MatMul", [name, f"{name}.weight"], [f"{name}.projected"]),
            helper.make_node("Gather", ["present", f"{name}.column"], [f"{name}.here"], axis=1),
            helper.make_node("Mul", [f"{name}.projected", f"{name}.here"], [f"{name}.part"]),
        ]
    nodes.append(helper.make_node("Sum", [f"{name}.part" for name in weights], ["item_vectors"]))
    inputs: dict[str, list[str | int]] = {n: ["B", len(w)] for n, w in weights.items()}
    inputs["present"] = ["B", len(weights)]
    return _model(nodes, inputs, ("item_vectors", ["B", dim]), constants)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[str | int]],
    output: tuple[str, Sequence[str | int]],
    constants: Mapping[str, NDArray[np.generic]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _unit_rows(rng: np.random.Generator, rows: int, dim: int) -> Floats:
    vectors = rng.standard_normal((rows, dim)).astype(np.float32)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _parts(dim: int, modalities: Sequence[str]) -> list[Part]:
    """The behaviour line has half of the columns, the modalities share the rest."""
    stops = [dim // 2, *np.linspace(dim // 2, dim, len(modalities) + 1, dtype=int)[1:].tolist()]
    names = ["behaviour", *modalities]
    return [
        Part(name=name, start=start, stop=stop)
        for name, start, stop in zip(names, [0, *stops[:-1]], stops, strict=True)
    ]


def _seen(
    rng: np.random.Generator,
    n_with: int,
    n_without: int,
    n_items: int,
    n_heavy: int,
    mean_history: int,
) -> Csr:
    lengths = np.clip(rng.poisson(mean_history, n_with), 1, n_items)
    lengths[:n_heavy] = max(n_items - 3, 1)
    # Squaring draws the low rows more often: popularity has a head and a tail, as in real data.
    cols = [
        rng.permutation(n_items)[:length]
        if length > n_items // 2
        else (rng.random(length) ** 2 * n_items).astype(np.int64)
        for length in lengths
    ]
    rows = np.repeat(np.arange(n_with), lengths)
    return Csr.from_pairs(rows, np.concatenate(cols), n_with + n_without, n_items)


def _sample(rng: np.random.Generator, weights: Mapping[str, Floats], dim: int) -> EncoderSample:
    features = {
        name: rng.standard_normal((SAMPLE, len(weight))).astype(np.float32)
        for name, weight in weights.items()
    }
    present = np.ones((SAMPLE, len(weights)), np.bool_)
    present[0, 0] = False
    item_vectors = np.sum(
        [features[n] @ w * present[:, m, None] for m, (n, w) in enumerate(weights.items())], axis=0
    )
    history = rng.standard_normal((SAMPLE, HISTORY, dim)).astype(np.float32)
    mask = np.ones((SAMPLE, HISTORY), np.bool_)
    mask[0, 1:] = False
    recency = rng.random((SAMPLE, HISTORY), np.float32) + np.float32(0.1)
    used = recency * mask
    user_vectors = (history * used[..., None]).sum(1) / used.sum(1, keepdims=True)
    return EncoderSample(
        features=features,
        present=present,
        item_vectors=item_vectors.astype(np.float32),
        history=history,
        mask=mask,
        weights=recency,
        user_vectors=user_vectors.astype(np.float32),
    )
