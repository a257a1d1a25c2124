"""Synthetic interactions of the shape of a real data set at any size, with learnable structure.

Items lie in clusters. Users draw items by popularity, from a few clusters that they like or from
the whole catalogue. Features are the clusters' directions plus noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.sorted_sets import is_member, unique
from training.data.dataset import Modality
from training.data.split import Split

Integers = NDArray[np.int64]

NOISE = 2.0
"""Noise of the features, relative to the clusters' directions; many nearest neighbours are of
another cluster."""
FACTORS = 128
"""Dimensions of directions and noise; wider features are these in another basis, since real
features, too, have fewer dimensions than columns."""
BLOCK = 4_000_000
"""Pairs drawn at a time; it bounds the memory beyond the result to about 0.4 GB."""
ROUNDS = 30
"""Draws of a history: in each, pairs that were drawn before are replaced. The longest histories
would need more of them and stay shorter than planned."""


@dataclass(frozen=True)
class Group:
    """Users of one kind.

    Attributes:
        share: of all users.
        lengths: draws n lengths of train histories.
        held_out: valid and test pairs for each train pair, on average.
        clusters: number of clusters that a user likes.
        faithful: probability that a pair is of one of them.
    """

    share: float
    lengths: Callable[[np.random.Generator, int], NDArray[np.number]]
    held_out: tuple[float, float]
    clusters: int
    faithful: float


@dataclass(frozen=True)
class Shape:
    """Size and structure of a data set, and how it grows: users and pairs in proportion.

    Attributes:
        title: of the data set.
        n_users, n_items: at size 1.
        item_growth: exponent of the growth of the items; 1 is in proportion, too.
        groups: of users.
        items_of_a_cluster: mean number of items of a cluster.
        popularity: weight of an item's draws by its rank, relative to the number of items.
        widths: columns of each modality's features.
    """

    title: str
    n_users: int
    n_items: int
    item_growth: float
    groups: tuple[Group, ...]
    items_of_a_cluster: int
    popularity: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    widths: dict[str, int]


SHAPES = {
    # 103 users hold 71 % of the train pairs, with up to 603 each; the others have 1 to 4. With
    # larger clusters, popularity and clusters explain nearly everything, and the first epochs are
    # the best. The first thousand items have 45 % of the pairs.
    "tiktok": Shape(
        title="TikTok",
        n_users=9_308,
        n_items=6_710,
        item_growth=1.0,
        groups=(
            Group(
                share=103 / 9_308,
                lengths=lambda rng, n: np.clip(rng.normal(408, 90, n), 100, 603),
                held_out=(0.0, 0.0),
                clusters=1,
                faithful=0.0,
            ),
            Group(
                share=1 - 103 / 9_308,
                lengths=lambda rng, n: rng.choice(4, n, p=(0.381, 0.334, 0.281, 0.004)) + 1,
                held_out=(0.174, 0.349),
                clusters=1,
                faithful=0.6,
            ),
        ),
        items_of_a_cluster=20,
        popularity=lambda rank: rank**-0.65,
        widths={"audio": 128, "image": 128},
    ),
    # Every user has rated at least 20 items, a tenth and a fifth of which are held out. MovieLens
    # itself grows so: the set with 10 × the ratings has 11.8 × the users and 2.9 × the films.
    "movielens-1m": Shape(
        title="MovieLens-1M",
        n_users=6_040,
        n_items=3_260,
        item_growth=0.5,
        groups=(
            Group(
                share=1.0,
                lengths=lambda rng, n: np.minimum(13 + rng.lognormal(4.0, 1.15, n), 1_609),
                held_out=(0.107, 0.273),
                clusters=6,
                faithful=0.6,
            ),
        ),
        items_of_a_cluster=40,
        popularity=lambda rank: rank**-0.3 * np.exp(-4 * rank),
        widths={"image": 1_280, "title": 384},
    ),
    # No real set: a shop, which 100 times as large has a million users, 200,000 items and ten
    # million pairs.
    "shop": Shape(
        title="a small shop",
        n_users=10_000,
        n_items=2_000,
        item_growth=1.0,
        groups=(
            Group(
                share=1.0,
                lengths=lambda rng, n: np.minimum(1 + rng.lognormal(1.8, 0.85, n), 500),
                held_out=(0.05, 0.05),
                clusters=3,
                faithful=0.6,
            ),
        ),
        items_of_a_cluster=20,
        popularity=lambda rank: rank**-0.65,
        widths={"image": 256, "text": 256},
    ),
}


def synthetic_split(
    shape: Shape, size: float, rng: np.random.Generator
) -> tuple[Split, dict[str, Modality]]:
    """A split of `size` times the users and pairs of a shape, and its modalities.

    Args:
        shape: one of SHAPES.
        size: multiple of the shape's size.
        rng: source of everything random.
    """
    n_users = round(shape.n_users * size)
    n_items = round(shape.n_items * size**shape.item_growth)
    n_clusters = max(n_items // shape.items_of_a_cluster, 1)
    clusters = rng.integers(n_clusters, size=n_items)
    rank = rng.permutation(np.arange(1, n_items + 1)) / n_items
    items = _Items(clusters, shape.popularity(rank), n_clusters, rng)
    blocks: list[tuple[Csr, Csr, Csr]] = []
    left = n_users
    for group in shape.groups:
        n = left if group is shape.groups[-1] else max(round(group.share * n_users), 1)
        left -= n
        of_train = group.lengths(rng, n).astype(np.int64)
        held_out = [(of_train * share + rng.random(n)).astype(np.int64) for share in group.held_out]
        lengths = np.stack([of_train, *held_out])
        number = np.cumsum(lengths.sum(0)) // BLOCK
        in_blocks = np.split(lengths, np.flatnonzero(np.diff(number)) + 1, axis=1)
        blocks += [items.histories(block, group) for block in in_blocks]
    train, valid, test = (_stack(parts) for parts in zip(*blocks, strict=True))
    split = Split(train, valid, test, how=f"synthetic, {size:g} × {shape.title}")
    return split, {name: _modality(clusters, width, rng) for name, width in shape.widths.items()}


def _modality(clusters: Integers, width: int, rng: np.random.Generator) -> Modality:
    """Features [I, width] of items in the given clusters [I]."""
    centres = rng.standard_normal((clusters.max() + 1, FACTORS), np.float32)
    latent = centres[clusters]
    latent += np.float32(NOISE) * rng.standard_normal(latent.shape, np.float32)
    basis, _ = np.linalg.qr(rng.standard_normal((width, FACTORS)))
    return Modality(latent @ basis.astype(np.float32).T, np.ones(len(clusters), np.bool_))


def _stack(blocks: tuple[Csr, ...]) -> Csr:
    """The rows of matrices with equally many columns, one after another."""
    indptr = np.append(0, np.cumsum(np.concatenate([block.lengths for block in blocks])))
    return Csr(indptr, np.concatenate([block.indices for block in blocks]), blocks[0].n_cols)


class _Items:
    """Draws of items by popularity, from the whole catalogue or from one cluster.

    Args:
        clusters: [I] cluster of each item.
        popularity: [I] weight of each item.
        n_clusters: number of clusters.
        rng: source of the draws.
    """

    def __init__(
        self,
        clusters: Integers,
        popularity: NDArray[np.float64],
        n_clusters: int,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._order = np.argsort(clusters, kind="stable")
        # One cumulative sum over all clusters: a cluster is an interval of it.
        self._cumulative = np.append(0.0, np.cumsum(popularity[self._order]))
        ends = np.cumsum(np.bincount(clusters, minlength=n_clusters))
        self._bounds = self._cumulative[np.append(0, ends)]

    def histories(self, lengths: Integers, group: Group) -> tuple[Csr, Csr, Csr]:
        """Distinct items of each user of a group, divided at random.

        Args:
            lengths: [3, n] number of items of each user in train, valid and test.
            group: what the users like.

        Returns:
            Train, valid and test, n × I each.
        """
        n, n_items = lengths.shape[1], len(self._order)
        liked = self._rng.integers(len(self._bounds) - 1, size=(n, group.clusters))
        missing, drawn = lengths.sum(0), list[Integers]()
        for _ in range(ROUNDS):
            users = np.repeat(np.arange(n), missing)
            keys = unique(users * n_items + self._draw(liked, users, group.faithful))
            for earlier in drawn:
                keys = keys[~is_member(keys, earlier)]
            drawn.append(keys)
            missing -= np.bincount(keys // n_items, minlength=n)
        users, items = np.divmod(np.concatenate(drawn), n_items)
        order = np.argsort(users + self._rng.random(len(users)))
        users, items = users[order], items[order]
        place = np.arange(len(users)) - np.searchsorted(users, users)
        ends = np.cumsum(lengths[[1, 2]], 0)[:, users]  # train is what is left, if too few
        part = np.where(place >= ends[1], 0, 1 + (place >= ends[0]))
        train, valid, test = (
            Csr.from_pairs(users[part == number], items[part == number], n, n_items)
            for number in range(3)
        )
        return train, valid, test

    def _draw(self, liked: Integers, users: Integers, faithful: float) -> Integers:
        """An item for each of some users [n], who like clusters [U, c]."""
        clusters = liked[users, self._rng.integers(liked.shape[1], size=len(users))]
        low, high = self._bounds[clusters], self._bounds[clusters + 1]
        anything = self._rng.random(len(users)) >= faithful
        low[anything], high[anything] = 0, self._cumulative[-1]
        place = low + (high - low) * self._rng.random(len(users))
        found = np.searchsorted(self._cumulative, place, side="right") - 1
        return np.asarray(self._order[np.minimum(found, len(self._order) - 1)])
