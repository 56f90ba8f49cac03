"""The way from one noise to another: what lies between two generated clips."""

import torch


def slerp(a: torch.Tensor, b: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Tensors of one shape and shares (N,) from 0 (a) to 1 (b) -> (N, ...), along the great circle.

        sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,    w the angle between a and b

    The straight line between two draws of Gaussian noise runs nearer to zero than any draw does: halfway its length is
    0.71 of theirs, and a denoiser has never seen such noise. Along the circle the length stays.
    """
    cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle < 1e-4:  # nearly the same direction: the circle is the line
        weights = torch.stack([1 - shares, shares])
    else:
        weights = torch.stack([torch.sin((1 - shares) * angle), torch.sin(shares * angle)]) / torch.sin(angle)
    first, second = (w.reshape(-1, *[1] * a.dim()) for w in weights)
    return first * a + second * b
