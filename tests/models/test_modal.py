"""Encoders of modalities: gate and propagation against dense algebra."""

import torch

from models.modal import FilterGate, ModalEncoder, mean_of_layers
from tests.models.small_model import DIM, N_USERS, make_model


def test_filter_gate_is_its_equation() -> None:
    gate = FilterGate(5, DIM, torch.Generator().manual_seed(0))
    x = torch.randn(7, 5)
    value = x @ gate.value.weight.T + gate.value.bias
    expected = value * torch.sigmoid(x @ gate.gate.weight.T + gate.gate.bias)
    torch.testing.assert_close(gate(x), expected)


def test_modal_encoder_is_dense_algebra() -> None:
    encoder = make_model(item_layers=2, user_layers=1).encoders[0]
    assert isinstance(encoder, ModalEncoder)
    assert encoder.gate is not None and encoder.user_graph is not None
    h = (encoder.gate(encoder.features) + encoder.embedding) * encoder.present
    a, s = encoder.item_graph.to_dense(), encoder.user_graph.to_dense()
    items = (h + a @ h + a @ a @ h) / 3
    torch.testing.assert_close(encoder(), items)
    users = torch.randn(N_USERS, DIM)
    torch.testing.assert_close(encoder.propagate_users(users), (users + s @ users) / 2)


def test_mean_of_layers_without_a_graph_changes_nothing() -> None:
    x = torch.randn(4, 2)
    assert mean_of_layers(None, x, 3) is x
