"""A small shop with pictures, and bundles of it whose parts mean what their names say."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from bundle.csr import Csr
from bundle.format.manifest import Part
from bundle.format.writer import BundleContents
from bundle.ids import IdMap
from bundle.store.store import BundleStore
from bundle.types import Floats
from tests.support.data.bundles import MODALITIES, make_contents
from tests.support.data.content_encoders import WORDS, colour_encoder, word_encoder, word_vectors
from training.demo.catalogue import make_catalogue
from training.evaluation.heldout import HeldOut
from training.gate.publish import PublicationGate, publish_through_gate

N_ITEMS, N_USERS = 120, 150
BEHAVIOUR, COLOUR, TEXT = 8, 3, MODALITIES["text"]
"""Columns of each part: the largest singular vectors, differences of colours, mean of words."""
DIM = BEHAVIOUR + COLOUR + TEXT + 1
HELD_OUT = 2
"""Newest interactions of each user, which no bundle has."""


@dataclass(frozen=True)
class PictureShop:
    """A store with two bundles, and what a service needs beside it.

    Attributes:
        store: the older bundle knows nothing but pictures and titles; the gate let the newer pass.
        pictures: folder of the image paths.
        encoders: folder of each modality's content encoder.
    """

    store: BundleStore
    pictures: Path
    encoders: dict[str, Path]


def make_picture_shop(folder: Path) -> PictureShop:
    """Draw the shop, and publish both bundles."""
    pictures = folder / "shop"
    make_catalogue(pictures, n_items=N_ITEMS, n_users=N_USERS)
    store = BundleStore(folder / "store")
    contents, held_out = _contents(pictures)
    vectors = contents.item_vectors.copy()
    vectors[:, :BEHAVIOUR] = 0
    store.publish(_with_vectors(contents, vectors))
    gate = PublicationGate(store, store.load(), held_out, {"new_events": HELD_OUT * N_USERS})
    publish_through_gate(store, replace(contents, parent_version=store.current()), gate)
    text, image = word_encoder(folder / "text", TEXT), colour_encoder(folder / "image")
    return PictureShop(store, pictures, {"text": text, "image": image})


def _contents(folder: Path) -> tuple[BundleContents, HeldOut]:
    with (folder / "items.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "item_id"]
    items = IdMap([row["item_id"] for row in rows], "item_id")
    columns = {name: [row[name] or None for row in rows] for name in names}
    prices = [float(price or 0) for price in columns.pop("price")]
    table = pa.table({"item_id": items.ids, **columns, "price": prices})
    users = IdMap([f"user-{number:04d}" for number in range(N_USERS)], "user_id")
    with (folder / "interactions.csv").open() as file:
        pairs = [(row["user_id"], row["item_id"]) for row in csv.DictReader(file)]
    user_idx, item_idx = users.rows([u for u, _ in pairs]), items.rows([i for _, i in pairs])
    newest = np.zeros(len(pairs), np.bool_)
    for user in range(N_USERS):
        newest[np.flatnonzero(user_idx == user)[-HELD_OUT:]] = True
    seen, relevant = (
        Csr.from_pairs(user_idx[part], item_idx[part], N_USERS, N_ITEMS)
        for part in (~newest, newest)
    )
    weights = _encoder_weights()
    contents = make_contents(
        N_USERS, N_ITEMS, DIM, rng=np.random.default_rng(0), no_interactions=0, weights=weights
    )
    contents = replace(
        contents,
        users=users,
        items=items,
        item_table=table,
        seen=seen,
        parts=_parts(),
    )
    vectors = np.concatenate([_behaviour(seen), np.zeros((N_ITEMS, DIM - BEHAVIOUR))], axis=1)
    vectors[:, -1] = 0.02 * np.log1p(seen.column_counts())
    for name, rows_of in (("image", _colours(folder, rows)), ("text", _words(rows))):
        vectors += rows_of @ weights[name]
    held_out = HeldOut(users.ids, items, seen, np.ones(seen.nnz, np.float32), relevant)
    return _with_vectors(contents, vectors.astype(np.float32)), held_out


def _with_vectors(contents: BundleContents, vectors: Floats) -> BundleContents:
    """A user is the mean of the history, as the user encoder makes it."""
    seen = contents.seen
    users = np.stack([vectors[seen.row(row)].mean(0) for row in range(len(contents.users))])
    return replace(contents, item_vectors=vectors, item_parts=vectors, user_vectors=users)


def _parts() -> list[Part]:
    widths = {"behaviour": BEHAVIOUR, "image": COLOUR, "text": TEXT, "popularity": 1}
    stops = np.cumsum(list(widths.values())).tolist()
    return [
        Part(name=name, start=stop - width, stop=stop)
        for (name, width), stop in zip(widths.items(), stops, strict=True)
    ]


def _encoder_weights() -> dict[str, Floats]:
    """Differences of red, green and blue, so that grey is 0; and words as they are."""
    image = np.zeros((MODALITIES["image"], DIM), np.float32)
    image[:3, BEHAVIOUR : BEHAVIOUR + COLOUR] = np.eye(3) - np.roll(np.eye(3), 1, axis=0)
    text = np.zeros((TEXT, DIM), np.float32)
    text[:, BEHAVIOUR + COLOUR : -1] = 0.3 * np.eye(TEXT)
    return {"image": image, "text": text}


def _behaviour(seen: Csr) -> Floats:
    matrix = np.zeros((N_USERS, N_ITEMS))
    matrix[np.arange(N_USERS).repeat(seen.lengths), seen.indices] = 1
    _, sizes, directions = np.linalg.svd(matrix, full_matrices=False)
    found: Floats = (directions[:BEHAVIOUR].T * np.sqrt(sizes[:BEHAVIOUR])).astype(np.float32)
    return found


def _colours(folder: Path, rows: list[dict[str, str]]) -> Floats:
    """Features of the pictures by `colour_encoder`; 0 without one."""
    found = np.zeros((len(rows), MODALITIES["image"]), np.float32)
    for number, row in enumerate(rows):
        if row["image"]:
            mean = np.asarray(Image.open(folder / row["image"]).convert("RGB")).mean((0, 1)) / 255
            found[number] = [*mean, *(2 * mean)]
    return found


def _words(rows: list[dict[str, str]]) -> Floats:
    """Features of the titles by `word_encoder`; 0 without one."""
    table = word_vectors(TEXT)
    found = np.zeros((len(rows), TEXT), np.float32)
    for number, row in enumerate(rows):
        words = row["title"].lower().split()
        if words:
            found[number] = table[[WORDS.get(word, WORDS["?"]) for word in words]].mean(0)
    return found
