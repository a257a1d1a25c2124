"""Graphs and sparse products against dense algebra."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.graphs import history_mean, interaction_graph, nearest_neighbours, relation_graph
from models.sparse import SparseMatrix


def random_matrix(rows: int, cols: int, seed: int) -> tuple[SparseMatrix, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.rand(rows, cols, generator=generator)
    dense[torch.rand(rows, cols, generator=generator) < 0.7] = 0
    row_idx, col_idx = dense.nonzero(as_tuple=True)
    order = torch.randperm(len(row_idx), generator=generator)
    row_idx, col_idx = row_idx[order], col_idx[order]
    return SparseMatrix(row_idx, col_idx, dense[row_idx, col_idx], (rows, cols)), dense


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_products_and_their_gradients_are_those_of_the_dense_matrix(
    rows: int, cols: int, seed: int
) -> None:
    sparse, dense = random_matrix(rows, cols, seed)
    assert torch.equal(sparse.to_dense(), dense)
    for product, matrix in ((sparse.matmul, dense), (sparse.matmul_transposed, dense.T)):
        x = torch.rand(matrix.shape[1], 5, requires_grad=True)
        weight = torch.rand(matrix.shape[0], 5)
        torch.testing.assert_close(product(x), matrix @ x)
        (product(x) * weight).sum().backward()
        torch.testing.assert_close(x.grad, matrix.T @ weight)


def test_interaction_graph_is_the_symmetric_normalisation() -> None:
    users, items = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    adjacency = torch.zeros(4, 3)
    adjacency[users, items] = 1
    degrees_u, degrees_i = adjacency.sum(1), adjacency.sum(0)
    expected = adjacency / (degrees_u[:, None] * degrees_i[None]).sqrt()
    expected[expected.isnan()] = 0  # user 3 and item 2 have no interactions
    torch.testing.assert_close(interaction_graph(users, items, 4, 3).to_dense(), expected)
    means = history_mean(users, items, 4, 3).to_dense()
    torch.testing.assert_close(means.sum(1), torch.tensor([1.0, 1.0, 1.0, 0.0]))


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_neighbours_are_those_of_the_full_similarity_matrix(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 6, generator=generator)
    present = torch.rand(40, generator=generator) < 0.8
    neighbours, cosines = nearest_neighbours(features, present, 5, block=block)
    unit = torch.nn.functional.normalize(features, dim=1)
    similarity = unit @ unit.T
    similarity[:, ~present] = -2
    similarity.fill_diagonal_(-2)
    expected = similarity.topk(5, dim=1)
    assert torch.equal(neighbours[present], expected.indices[present])
    torch.testing.assert_close(cosines[present], expected.values[present])
    assert (neighbours[~present] == -1).all()
    assert (cosines[~present] == 0).all()


def test_neighbours_of_few_items_are_all_the_others() -> None:
    neighbours, _ = nearest_neighbours(torch.eye(3), torch.tensor([True, True, False]), 10)
    assert neighbours.tolist() == [[1], [0], [-1]]
    alone, _ = nearest_neighbours(torch.eye(1), torch.tensor([True]), 10)
    assert alone.shape == (1, 0)


def test_relation_graph_drops_itself_absent_and_dissimilar_items() -> None:
    neighbours = torch.tensor([[0, 1, 2], [0, -1, 2], [0, 1, 2]])
    cosines = torch.tensor([[1.0, 0.9, -0.1], [0.9, 0.0, 0.5], [0.3, 0.5, 1.0]])
    adjacency = torch.tensor([[0.0, 1, 0], [1, 0, 1], [1, 1, 0]])
    scale = (adjacency.sum(1, keepdim=True) * adjacency.sum(0, keepdim=True)).rsqrt()
    torch.testing.assert_close(relation_graph(neighbours, cosines).to_dense(), adjacency * scale)


def test_moves_between_dtypes_of_input_without_losing_precision() -> None:
    sparse, dense = random_matrix(6, 5, 1)
    x = torch.rand(5, 2, dtype=torch.float64)
    np.testing.assert_allclose(sparse.matmul(x), dense.double() @ x, rtol=1e-12)
