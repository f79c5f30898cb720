"""The networks are those of the paper."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.learning.networks import (
    KINDS,
    GlobalPoolingNet,
    Kind,
    make_network,
    predict_log_probabilities,
    weights_of,
)

TABLE_1 = [(100, 100, 32), (50, 50, 32), (25, 25, 32), (13, 13, 64), (13, 13, 64), (6, 6, 64)]


def test_gapc_has_the_layers_of_table_1() -> None:
    network = GlobalPoolingNet("gapc", 6)
    sizes = []

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append((output.shape[2], output.shape[3], output.shape[1]))

    for layer in network.base:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(note)
    outputs = network(torch.zeros(1, 200, 200))
    assert sizes == TABLE_1[:5]
    maps = network.base(torch.zeros(1, 1, 200, 200))
    assert nn.functional.max_pool2d(maps, 2).shape == (1, 64, 6, 6)
    assert outputs.features.shape == (1, 64)
    assert outputs.logits.shape == (1, 6)
    assert network.activation_maps(torch.zeros(1, 200, 200)).shape == (1, 6, 13, 13)


@pytest.mark.parametrize(("kind", "parameters"), [("gapc", 65_382), ("gmpc", 65_382)])
def test_parameters_for_one_channel_and_six_classes(kind: Kind, parameters: int) -> None:
    assert sum(p.numel() for p in make_network(kind, 6).parameters()) == parameters


def test_there_is_no_batch_normalisation_and_half_is_dropped() -> None:
    network = GlobalPoolingNet("gapc", 6)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert network.dropout.p == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_brightness_and_contrast_of_a_patch_do_not_matter(kind: Kind) -> None:
    torch.manual_seed(0)
    network = make_network(kind, 3).eval()
    patch = torch.rand(1, 200, 200) * 100
    first, second = network(patch).logits, network(2 * patch + 30).logits
    torch.testing.assert_close(first, second, atol=2e-3, rtol=0)


def test_average_and_maximum_are_what_they_say() -> None:
    torch.manual_seed(0)
    average = GlobalPoolingNet("gapc", 3).eval()
    largest = GlobalPoolingNet("gmpc", 3).eval()
    largest.load_state_dict(average.state_dict())
    patches = torch.rand(2, 200, 200) * 255
    assert (largest(patches).features >= average(patches).features).all()
    assert (largest(patches).features > average(patches).features).any()


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_do_not_depend_on_the_batch(kind: Kind) -> None:
    torch.manual_seed(0)
    network = make_network(kind, 3)
    patches = torch.randint(0, 256, (7, 200, 200), dtype=torch.uint8)
    whole = predict_log_probabilities(network, patches)
    assert whole.dtype == torch.float64
    torch.testing.assert_close(whole, predict_log_probabilities(network, patches, batch=2))
    assert network.training  # as it was
    np.testing.assert_allclose(whole.exp().sum(1), 1)


def test_weights_come_out_in_order() -> None:
    network = GlobalPoolingNet("gapc", 5)
    weights = weights_of(network)
    shapes = [w.shape for w, _ in weights.convolutions]
    assert shapes == [(32, 1, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3)]
    assert weights.dense[0].shape == (5, 64)
    assert all(w.flags.c_contiguous for w, _ in weights.convolutions)
