"""What a network costs before it is trained: parameters and multiply-adds."""

import warnings

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """The number of trained weights."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@torch.no_grad()
def multiply_adds(network: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-adds of convolutions, linear layers and LSTMs for `inputs`, half of the floating-point operations counted.

    Without oneDNN, whose LSTM is one operation that the counter does not know.
    """
    was_training = network.training
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch asks for an Intel GPU when the flag is set back
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            network.eval()(*inputs)
    network.train(was_training)
    return counter.get_total_flops() // 2
