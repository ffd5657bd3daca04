"""Networks of random weights for tests."""

import torch


def settle_batch_norms(network: torch.nn.Module, side: int) -> None:
    """Give batch norms the statistics of real activations: without, random weights give nearly the same features for every
    picture, and a comparison would say nothing. side: of the pictures. The network is in training mode afterwards."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4), size=(side, side)))
