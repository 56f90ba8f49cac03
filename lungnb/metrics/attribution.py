"""What a network looks at: attribution maps, their controls, and deletion curves.

Networks are called as network(features, metadata) -> logits: features (N, C, rows, frames), metadata (N, 3). All is done on the
CPU: on a GPU an LSTM has no gradient in evaluation mode. How maps are scored against true places: `lungnb.metrics.localisation`.
"""

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from lungnb.core import UserError

METHODS = {"Grad-CAM": GradCAM, "Grad-CAM++": GradCAMPlusPlus}
#: Clips a pass: a large network keeps all its layers for the gradient.
BATCH = 32


def class_maps(
    network: nn.Module, layer: nn.Module, images: torch.Tensor, classes: Sequence[int], method: str
) -> np.ndarray:
    """Maps (B, H, W) in 0..1 of what speaks for `classes`, one an image (B, C, H, W), at `layer` by one of METHODS.

    Grad-CAM (Selvaraju et al. 2017): the mean gradient of the class's logit weighs each channel of the layer; what is left of
    their sum above 0 speaks for the class. Grad-CAM++: Chattopadhyay et al. 2018. The library takes the least value of a map for
    0 and the greatest for 1; a map that is the same everywhere is 0.
    """
    with METHODS[method](model=network, target_layers=[layer]) as cam:
        return np.asarray(cam(input_tensor=images, targets=[ClassifierOutputTarget(int(c)) for c in classes]))


def stages(network: nn.Module) -> list[nn.Module]:
    """The layers at which one can look, the last of which is usual: the residual stages of a network with a `trunk`, else the
    ReLUs of its `convolutions` (or these themselves, where ReLUs lie elsewhere). Raises UserError for another network."""
    for module in network.modules():
        if hasattr(module, "trunk"):
            return [getattr(module.trunk, f"layer{k}")[-1] for k in range(1, 5)]
        if hasattr(module, "convolutions"):
            layers = list(module.convolutions)
            return [layer for layer in layers if isinstance(layer, nn.ReLU)] or layers
    raise UserError(f"It is not known where {type(network).__name__} looks; name its layers `convolutions` or `trunk`.")


class _WithMetadata(nn.Module):
    """A network with the metadata of these clips: the library passes pictures alone."""

    def __init__(self, network: nn.Module, metadata: torch.Tensor):
        super().__init__()
        self.network, self.metadata = network, metadata

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.network(features, self.metadata)


def _batches(network: nn.Module, metadata: torch.Tensor) -> Iterator[tuple[torch.Tensor, nn.Module]]:
    """Rows and the part of the network that sees them; MPO has one, in `networks`, for each position (metadata[:, 2])."""
    networks = next((m.networks for m in network.modules() if hasattr(m, "networks")), None)
    position = metadata[:, 2] if networks is not None else torch.zeros(len(metadata), dtype=torch.long)
    for k in position.unique().tolist():
        if networks is not None and k >= len(networks):
            raise UserError("MPO has no network for a sound from an unknown position; leave that sound out.")
        for rows in torch.nonzero(position == k).squeeze(1).split(BATCH):
            yield rows, network if networks is None else networks[k]


def attribution_maps(
    network: nn.Module,
    features: torch.Tensor,
    metadata: torch.Tensor,
    label: torch.Tensor,
    method: str,
    stage: int = -1,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Maps (N, rows, frames) of what speaks for each clip's label, by one of METHODS at one of `stages`.

    They have the size of the features, but the detail of the layer, which is returned beside them: (rows, frames). MPA is given
    its sites as channels of one picture, so one map is for all of them.
    """
    maps, detail = np.zeros((len(features), *features.shape[2:]), dtype=np.float32), (0, 0)
    for rows, part in _batches(network.eval(), metadata):
        layer, shapes = stages(part)[stage], []
        handle = layer.register_forward_hook(lambda _, __, y, seen=shapes: seen.append(tuple(y.shape[2:])))
        maps[rows] = class_maps(_WithMetadata(network, metadata[rows]), layer, features[rows], label[rows], method)
        handle.remove()
        detail = shapes[0]
    return maps, detail


def randomise_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """The same network with every weight drawn anew, for the model-parameter randomisation test (Adebayo et al. 2018); the scale
    of its features stays."""
    other = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in other.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return other.eval()


def unstretch(maps: np.ndarray, cut: Sequence[int]) -> np.ndarray:
    """Undo blank region clipping: maps (B, H, W) of images whose top `cut` rows were removed -> maps over all H rows."""
    out = np.zeros_like(maps)
    for to, full, rows in zip(out, torch.from_numpy(maps), map(int, cut), strict=True):
        size = (len(full) - rows, full.shape[1])
        to[rows:] = nn.functional.interpolate(full[None, None], size, mode="bilinear")[0, 0]
    return out


@torch.no_grad()
def deletion(
    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    metadata: torch.Tensor,
    label: torch.Tensor,
    importance: np.ndarray,
    steps: int,
    seed: int = 0,
) -> np.ndarray:
    """Deletion curves (Petsiuk et al. 2018): p(label) after the most important k / steps of the pixels are gone (N, steps + 1).

    A pixel that is gone holds, in all channels, its row's mean over the clip: the background goes on, the sound is missing.
    Pixels of the same importance (N, rows, frames) go in random order, so an importance that is constant is the control. The
    better the map, the smaller the area under the curve (`area_under`).
    """
    flat = importance.reshape(len(importance), -1)
    order = np.lexsort((np.random.default_rng(seed).random(flat.shape), -flat), axis=1)
    rank = torch.from_numpy(order.argsort(axis=1).reshape(importance.shape))[:, None]
    blank = features.float().mean(dim=3, keepdim=True)
    blank = (blank.round() if features.dtype == torch.uint8 else blank).to(features.dtype)
    curves = []
    for k in range(steps + 1):
        left = torch.where(rank < k / steps * flat.shape[1], blank, features)
        parts = [network(x, m) for x, m in zip(left.split(BATCH), metadata.split(BATCH), strict=True)]
        curves.append(torch.cat(parts).float().softmax(1).gather(1, label[:, None])[:, 0].numpy())
    return np.stack(curves, axis=1)


def area_under(curves: np.ndarray) -> np.ndarray:
    """Area under curves (B, steps + 1) over 0..1 by trapezoids (B,)."""
    return np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1)
