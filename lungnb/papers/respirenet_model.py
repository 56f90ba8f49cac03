"""RespireNet's network (section II, "Network architecture"): a ResNet on the spectrogram image, and a small head."""

from pathlib import Path
from typing import Literal

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torchvision.models.resnet import BasicBlock

from lungnb.core import UserError

Backbone = Literal["resnet34", "resnet18", "resnet10-narrow"]
#: Blocks in each of the four stages, and channels of the first. "resnet10-narrow" is ours, for a laptop without a GPU.
BACKBONES = {"resnet34": ([3, 4, 6, 3], 64), "resnet18": ([2, 2, 2, 2], 64), "resnet10-narrow": ([1, 1, 1, 1], 16)}


class ResNet(torchvision.models.ResNet):
    """torchvision's ResNet of basic blocks with stages of `width`, 2, 4 and 8 times `width` channels (64: the original)."""

    def __init__(self, blocks: list[int], width: int):
        self.width = width
        super().__init__(BasicBlock, blocks)

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64 and self.width != 64:  # the first stage: only the stem has been made
            self.inplanes = self.width
            self.conv1 = nn.Conv2d(3, self.width, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(self.width)
        return super()._make_layer(block, planes * self.width // 64, *args, **kwargs)


class RespireNet(nn.Module):
    """Image (B, 3, H, W) -> logits (B, n_classes); softmax belongs to inference.

    ResNet-34 -> global average pool (512) -> dropout, linear 128, ReLU -> dropout, linear 128, ReLU -> linear n_classes, as in
    the released code (the paper's figure draws a third dropout). 21,367,364 parameters with four classes.
    """

    def __init__(self, n_classes: int = 4, backbone: Backbone = "resnet34", dropout: float = 0.5):
        super().__init__()
        blocks, width = BACKBONES[backbone]
        self.trunk = ResNet(blocks, width)
        self.trunk.fc = nn.Identity()
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(8 * width, 128),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, n_classes),
        )
        self.to(memory_format=torch.channels_last)  # convolutions are up to 1.6 times faster so

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(image))


def load_imagenet(model: RespireNet, source: str) -> str:
    """Load ImageNet weights into the trunk and say what was done, for the tables.

    source: "imagenet" (torchvision's download), "imagenet or scratch" (the same, but a machine that cannot download trains
    from scratch and says so), "scratch", or a folder or file with a `.pth` or `.safetensors` of torchvision's ResNet.
    Raises UserError if the weights cannot be had or do not fit the backbone.
    """
    if source == "scratch":
        return "from scratch"
    try:
        state = _imagenet_state(source, model.trunk)
    except OSError as error:
        if source == "imagenet or scratch":
            return "from scratch (ImageNet weights could not be downloaded)"
        raise UserError(
            f"ImageNet weights could not be had from {source!r} ({error}); give a folder that holds resnet34*.pth, or "
            "pretrained='scratch'."
        ) from error
    state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    wrong = model.trunk.load_state_dict(state, strict=False) if _fits(model.trunk, state) else None
    if wrong is None or wrong.missing_keys or wrong.unexpected_keys:
        raise UserError(f"The weights in {source!r} are not those of this backbone; give torchvision's for it.")
    return "ImageNet"


def _imagenet_state(source: str, trunk: ResNet) -> dict[str, torch.Tensor]:
    if source.startswith("imagenet"):
        depth = {16: "ResNet34", 8: "ResNet18"}.get(sum(isinstance(m, BasicBlock) for m in trunk.modules()))
        if depth is None or trunk.width != 64:
            raise OSError("there are none for this backbone")
        return torchvision.models.get_weight(f"{depth}_Weights.IMAGENET1K_V1").get_state_dict(progress=False)
    path = Path(source).expanduser()
    files = sorted([*path.glob("resnet*.pth"), *path.glob("*.safetensors")]) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise OSError("no such file")
    if files[0].suffix == ".safetensors":
        return load_file(files[0])
    return torch.load(files[0], map_location="cpu", weights_only=True)


def _fits(trunk: ResNet, state: dict[str, torch.Tensor]) -> bool:
    own = trunk.state_dict()
    return all(k in own and own[k].shape == v.shape for k, v in state.items())
