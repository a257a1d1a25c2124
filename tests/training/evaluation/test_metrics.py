"""Metrics against cases by hand, a slow oracle, and the rule that ties count against the model."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.csr import Csr
from training.evaluation.metrics import ranking_metrics
from training.fitting.ranking import evaluate_scores


def csr(rows: list[list[int]], n_cols: int) -> Csr:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return Csr.from_pairs(users, np.concatenate([*rows, []]).astype(int), len(rows), n_cols)


def evaluate(scores: np.ndarray, relevant: Csr, masked: Csr, *ks: int) -> dict[str, float]:
    matrix = torch.from_numpy(scores.astype(np.float32))
    return evaluate_scores(lambda users: matrix[users].clone(), relevant, masked, ks)


def test_one_user_by_hand() -> None:
    # Ranking 0 1 2 3 4 5; relevant 1, 3 and 9, which is far behind.
    scores = -np.arange(10.0)[None]
    found = evaluate(scores, csr([[1, 3, 9]], 10), csr([[]], 10), 4)
    assert found["recall@4"] == pytest.approx(2 / 3)
    assert found["precision@4"] == pytest.approx(2 / 4)
    dcg = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg@4"] == pytest.approx(dcg / ideal)
    assert found["map@4"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert found["coverage@4"] == pytest.approx(4 / 10)


def test_ideal_list_and_map_are_cut_at_k() -> None:
    scores = -np.arange(6.0)[None]
    found = evaluate(scores, csr([[0, 1, 2]], 6), csr([[]], 6), 2)
    assert found["ndcg@2"] == pytest.approx(1)
    assert found["map@2"] == pytest.approx(1)
    assert found["recall@2"] == pytest.approx(2 / 3)


def test_masked_items_are_not_ranked_and_users_without_relevant_items_do_not_count() -> None:
    scores = np.tile(-np.arange(6.0), (2, 1))
    found = evaluate(scores, csr([[2], []], 6), csr([[0, 1], []], 6), 1)
    assert found["recall@1"] == 1
    assert found["coverage@1"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("relevant", [[0], [3], [0, 1, 2], [9]])
def test_all_scores_equal_earns_nothing(relevant: list[int]) -> None:
    found = evaluate(np.zeros((1, 10)), csr([relevant], 10), csr([[]], 10), 3, 5)
    assert [found[f"{m}@{k}"] for m in ("recall", "ndcg", "map") for k in (3, 5)] == [0] * 6


def test_equal_scores_that_all_fit_put_relevant_items_last() -> None:
    # 3 items of equal score within the first 4 ranks: the relevant one is taken to be third.
    scores = np.array([[5.0, 5.0, 5.0, 1.0, 0.5, 0.1]])
    found = evaluate(scores, csr([[0]], 6), csr([[]], 6), 4)
    assert found["recall@4"] == 1
    assert found["ndcg@4"] == pytest.approx(1 / math.log2(4))


def test_fewer_items_than_k() -> None:
    found = evaluate(np.array([[1.0, 2.0, 3.0]]), csr([[0]], 3), csr([[2]], 3), 20)
    assert found["recall@20"] == 1
    assert found["precision@20"] == pytest.approx(1 / 20)


def oracle(
    scores: np.ndarray, relevant: list[set[int]], masked: list[set[int]], k: int
) -> dict[str, float]:
    """The protocol, user by user, with plain lists."""
    sums = dict.fromkeys(("recall", "ndcg", "precision", "map"), 0.0)
    shown: set[int] = set()
    users = [u for u in range(len(scores)) if relevant[u]]
    for user in users:
        candidates = [i for i in range(scores.shape[1]) if i not in masked[user]]
        ranking = sorted(candidates, key=lambda i: (-scores[user, i], i in relevant[user]))
        top = ranking[:k]
        # Where the cut falls between equal scores, those that are relevant may be cut off.
        behind = scores[user, ranking[k]] if len(ranking) > k else None
        hits = [i in relevant[user] and scores[user, i] != behind for i in top]
        shown |= set(top)
        wanted = len(relevant[user])
        sums["recall"] += sum(hits) / wanted
        sums["precision"] += sum(hits) / k
        ideal = sum(1 / math.log2(r + 2) for r in range(min(wanted, k)))
        sums["ndcg"] += sum(h / math.log2(r + 2) for r, h in enumerate(hits)) / ideal
        precisions = (sum(hits[: r + 1]) / (r + 1) for r, h in enumerate(hits) if h)
        sums["map"] += sum(precisions) / min(wanted, k)
    return {f"{name}@{k}": value / len(users) for name, value in sums.items()}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 7), st.booleans())
def test_agrees_with_the_slow_oracle(seed: int, n_users: int, k: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    n_items = 12
    shape = (n_users, n_items)
    scores = (rng.integers(0, 4, shape) if coarse else rng.random(shape)).astype(np.float32)
    drawn = rng.integers(0, 3, (n_users, n_items))  # 1 relevant, 2 masked
    drawn[0, 0] = 1
    relevant = [set(np.flatnonzero(row == 1).tolist()) for row in drawn]
    masked = [set(np.flatnonzero(row == 2).tolist()) for row in drawn]
    found = evaluate(
        scores, csr([*map(sorted, relevant)], n_items), csr([*map(sorted, masked)], n_items), k
    )
    for name, value in oracle(scores, relevant, masked, k).items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert 0 <= found[f"coverage@{k}"] <= 1


def test_relevant_items_that_the_ranking_does_not_know_count_as_missed() -> None:
    item_idx, scores = np.array([[0, 1, 2]]), np.array([[3.0, 2.0, 1.0]])
    found = ranking_metrics(item_idx, scores, csr([[0]], 5), np.array([2]), ks=(2,))
    assert found["recall@2"] == pytest.approx(1 / 2)
