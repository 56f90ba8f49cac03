"""What RespireNet invented: concatenation, smart padding, blank region clipping, its network, fine-tuning by device.

Gairola, Tom, Kwatra and Jain (EMBC 2021), section II; how we read it is in docs/papers/respirenet.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pandas as pd
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torchvision.models.resnet import BasicBlock

from lungnb.core import UserError
from lungnb.data.audio import Neighbours, Segment, n_samples_of, part_of
from lungnb.features import LogMel, mean_and_sd
from lungnb.metrics import probability_columns

BlankRegionClipping = Literal["none", "paper", "code"]

#: Recipes of concatenation-based augmentation in the released code: new label -> parents' labels and probability
#: (docs/papers/respirenet.md, section 2.3). The paper says only "two samples of the same class".
CBA_RECIPES = {
    "crackle": [("crackle", "crackle", 0.6), ("crackle", "normal", 0.2), ("normal", "crackle", 0.2)],
    "wheeze": [("wheeze", "wheeze", 0.6), ("wheeze", "normal", 0.2), ("normal", "wheeze", 0.2)],
    "both": [
        ("both", "both", 0.5),
        ("crackle", "wheeze", 0.2),
        ("wheeze", "crackle", 0.1),
        ("both", "normal", 0.1),
        ("normal", "both", 0.1),
    ],
}


def concatenation(
    label: Sequence[str], rng: np.random.Generator, recipes: dict[str, list[tuple[str, str, float]]]
) -> list[tuple[int, int, str]]:
    """Concatenation-based augmentation: pairs of events to join and their new label, until every class has as many as "normal".

    label: (N,) labels of the training events. recipes: for each class the labels of two parents and how often (CBA_RECIPES, or
    `same_class_recipes` for the paper's wording).
    """
    of_class = {name: np.flatnonzero(np.asarray(label) == name) for name in ("normal", *recipes)}
    pairs = []
    for name, ways in recipes.items():
        ways = [way for way in ways if len(of_class[way[0]]) and len(of_class[way[1]])]
        if not ways:
            continue
        p = np.array([way[2] for way in ways])
        missing = max(len(of_class["normal"]) - len(of_class[name]), 0)
        for k in rng.choice(len(ways), size=missing, p=p / p.sum()):
            first, second, _ = ways[k]
            pairs.append((rng.choice(of_class[first]), rng.choice(of_class[second]), name))
    return pairs


def same_class_recipes(classes: Sequence[str]) -> dict[str, list[tuple[str, str, float]]]:
    """ "two samples of the same class" (section II-A), for any abnormal classes."""
    return {name: [(name, name, 1.0)] for name in classes if name != "normal"}


def smart_padding(
    core: list[Segment], n: int, label: str, neighbours: Neighbours, before: bool = False
) -> list[Segment]:
    """Smart padding (section II-A): the cycle's own neighbours, of the same class or normal, else a copy of itself.

    By the paper's sentence a copy is due where neither neighbour fits; here one stands in for each that does not
    (docs/papers/respirenet.md, section 2.1; literally in exercise 3 of notebook 01).
    The next neighbour goes behind, the previous one before, and so on outwards, until the clip has n samples; the outer end is
    trimmed.
    """
    clip, behind = list(core), True
    while (total := n_samples_of(clip)) < n:
        neighbour = next(neighbours, None)
        fits = neighbour is not None and neighbour[1] in (label, "normal")
        part = neighbour[0] if fits else core
        clip = clip + part if behind else part + clip
        if (total := n_samples_of(clip)) > n:
            clip = part_of(clip, 0 if behind else total - n, n)
        behind = not behind
    return clip


class MelImage(nn.Module):
    """Waveform (B, T) -> colour image of its log-mel spectrogram (B, 3, 64 * zoom, frames * zoom), high frequency on top.

    min-max per clip to 256 levels -> blank region clipping -> magma colours -> bilinear zoom, then minus `mean` over `std`
    per channel (statistics of the training clips, set by `fit_statistics`). A clip of 7 s gives 3 x 192 x 657 at zoom 3.
    """

    def __init__(self, clipping: BlankRegionClipping = "none", zoom: int = 3):
        super().__init__()
        self.log_mel, self.clipping, self.zoom = LogMel(), clipping, zoom
        self.register_buffer("magma", torch.tensor(matplotlib.colormaps["magma"].colors, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    def levels(self, waveform: torch.Tensor) -> torch.Tensor:
        """Grey levels uint8 (B, 64, frames), row 0 = highest frequency. A constant clip is all zero."""
        db = self.log_mel(waveform)  # at most 0
        low = db.amin(dim=(1, 2), keepdim=True)
        return ((db - low) / (-low).clamp(min=1e-6) * 255).to(torch.uint8).flip(1)

    def colour(self, levels: torch.Tensor) -> torch.Tensor:
        """The image (B, 3, H, W) of grey levels, values in 0..1."""
        return self._paint(levels, self.magma)

    def image(self, levels: torch.Tensor) -> torch.Tensor:
        """`colour(levels)` minus `mean` over `std`, but of the 256 colours instead of the pixels."""
        return self._paint(levels, (self.magma - self.mean) / self.std)

    def _paint(self, levels: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
        """Colours (256, 3) in place of grey levels, zoomed and clipped; channels last in memory, as convolutions like it."""
        pixels = colours.index_select(0, levels.flatten().int()).view(*levels.shape, 3).permute(0, 3, 1, 2)
        if self.clipping == "none":
            return _zoomed(pixels, self.zoom, self.zoom)
        # Zoom and clipping both mix rows: they are done to the rows of the unit matrix, and by one product to the image.
        mix = _zoomed(torch.eye(levels.shape[1], device=levels.device)[None, None], self.zoom, 1)
        mix = stretch_below(mix.expand(len(levels), -1, -1, -1), self.zoom * blank_rows(levels, self.clipping))[:, 0]
        wide = _zoomed(pixels, 1, self.zoom).permute(0, 2, 3, 1)  # (B, H, W, 3)
        with torch.autocast(levels.device.type, enabled=False):
            return (mix @ wide.flatten(2)).unflatten(2, wide.shape[2:]).permute(0, 3, 1, 2)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.image(self.levels(waveform))

    @torch.no_grad()
    def fit_statistics(self, batches) -> None:
        """Set `mean` and `std` (per channel, pooled over pixels) from an iterable of batches of grey levels."""
        mean, std = mean_and_sd((self.colour(levels) for levels in batches), (0, 2, 3), 1e-12)
        self.mean.copy_(mean)
        self.std.copy_(std)


def _zoomed(image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    if rows * columns == 1:
        return image
    return nn.functional.interpolate(image, scale_factor=(rows, columns), mode="bilinear")


def blank_rows(levels: torch.Tensor, form: BlankRegionClipping) -> torch.Tensor:
    """Number of blank rows on top of each spectrogram: levels (B, F, frames), row 0 = highest frequency -> (B,) int64.

    A pixel is blank if its grey value in magma is below 10, that is level <= 14 of 255, within 4.7 dB of the clip's floor; a
    row is blank if at least 80 % of it is (docs/papers/respirenet.md, section 2.2). "code" also counts the first row that is
    *not* blank, as the released code does, so every clip loses its top mel band; "paper" does not. A clip that is blank
    throughout is kept.
    """
    filled = (levels <= 14).float().mean(dim=2) < 0.80
    first_filled = filled.int().argmax(dim=1)
    rows = first_filled + (1 if form == "code" else 0)
    keep = ~filled.any(dim=1) | (rows >= levels.shape[1])
    return rows.masked_fill(keep, 0)


def stretch_below(image: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Remove the top `cut` (B,) rows of each image (B, C, H, W) and stretch the rest back to H rows, bilinearly."""
    height = image.shape[2]
    row = torch.arange(height, device=image.device, dtype=image.dtype)
    rest = (height - cut)[:, None].to(image.dtype)
    source = ((row + 0.5) * rest / height - 0.5).clamp(min=0) + cut[:, None]
    above = source.floor().long().clamp(max=height - 1)
    weight = (source - above)[:, None, :, None]

    def pick(r: torch.Tensor) -> torch.Tensor:
        return image.gather(2, r[:, None, :, None].expand_as(image))

    return torch.lerp(pick(above), pick((above + 1).clamp(max=height - 1)), weight)


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
    try:
        model.trunk.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=True)
    except RuntimeError as error:
        message = f"The weights in {source!r} are not those of this backbone; give torchvision's for it."
        raise UserError(message) from error
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


def merge_stages(stage_1: pd.DataFrame, stage_2: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Device-specific fine-tuning (section II-A): an event goes to the network of its device, else it keeps stage 1's answer.

    Predictions of the one network of stage 1, and of the networks of stage 2, each on its own device's events. Returns stage 1's
    table with the column `stage1` (its class) beside `predicted`.
    """
    merged = stage_1.set_index("event")
    merged["stage1"] = merged["predicted"]
    columns = ["predicted", *probability_columns(merged)]
    for predictions in stage_2:
        merged.update(predictions.set_index("event")[columns])
    return merged.astype({"predicted": int}).reset_index()
