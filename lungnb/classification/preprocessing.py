"""From sounds to features: clips of events are planned, cut, and go through a front end once; the cache keeps what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torchaudio
from torch import nn

from lungnb.classification.encoders import RATE, digest
from lungnb.core import cached_arrays
from lungnb.data.audio import PADDINGS, Audio, ClipPlan, crop_starts, cut, load_audio, plan_clips, plan_crops
from lungnb.data.corpus import Corpus
from lungnb.papers.convlstm import INPUTS, StretchedMaps
from lungnb.papers.pediatric import CropSpectrogram, thin_crops
from lungnb.papers.respirenet import CBA_RECIPES, MelImage, concatenation, same_class_recipes, smart_padding

Padding = Literal["smart", "repeat", "reflect", "zero"]
Windows = Literal["windows", "middle", "crops, paper", "crops, clean"]
#: By front end: sample rate (Hz), high-pass (Hz) and peak normalisation of the audio; clips a pass on a CPU, where memory for
#: more costs more than the transform.
AUDIO = {
    "mel image": (4000, 50.0, True, 32),
    **dict.fromkeys(("stacked", "stretched"), (8000, None, False, 32)),
    **dict.fromkeys(("stft", "mel", "mfcc"), (8000, None, False, 2)),
    "embedding": (RATE, None, False, 32),
}


@dataclass(frozen=True)
class Clips:
    """How clips are made of events: seconds; padding of shorter ones, in training and else; what becomes of longer ones;
    concatenation-based augmentation of the training clips, of two sounds of one class or by the released recipes."""

    seconds: float
    padding: Padding = "repeat"
    test_padding: Padding = "repeat"
    long: Windows = "windows"
    cba: bool = False
    same_class: bool = True
    random_side: bool = False


def plan(
    audio: Audio, events: pd.DataFrame, clips: Clips, classes: Sequence[str], training: bool, seed: int = 0
) -> ClipPlan:
    """The clips of `events`. Joined sounds, and sides drawn by a coin, are for training alone. `plan.label` are annotations."""
    if clips.long.startswith("crops"):
        length = (events["end_s"] - events["start_s"]).to_numpy()
        row, start_s = crop_starts(length, clips.seconds, direction=clips.long.removeprefix("crops, "))
        start_s = start_s + events["start_s"].to_numpy()[row]
        if clips.long == "crops, paper":
            kept = thin_crops(events.iloc[row][["recording", "cohort"]].reset_index(drop=True)).index
            row, start_s = row[kept], start_s[kept]
        return plan_crops(audio, events, row, start_s, clips.seconds)
    rng, joined = np.random.default_rng(seed), []
    if training and clips.cba:
        recipes = same_class_recipes(classes) if clips.same_class else CBA_RECIPES
        joined = concatenation(events["annotation"].to_numpy(object), rng, recipes)
    pad = (PADDINGS | {"smart": smart_padding})[clips.padding if training else clips.test_padding]
    options = {"long": clips.long, "label": "annotation", "random_side": training and clips.random_side}
    return plan_clips(audio, events, clips.seconds, pad, joined=joined, rng=rng, **options)


class SpectrogramImage(MelImage):
    """RespireNet's 8-bit spectrogram as features: waveform (B, T) -> uint8 (B, 1, 64, frames)."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.levels(waveform)[:, None]


@dataclass(frozen=True)
class Preprocessing:
    """How sounds become features: a front end of AUDIO, how clips are made, and what else the front end is made with.

    sample_rate: Hz; 0 for the front end's own. size: a row of the Conv-LSTM's INPUTS. pooling: rows and frames that are averaged;
    mel and MFCC keep their few rows.
    """

    name: str
    clips: Clips
    sample_rate: int = 0
    size: str = "A"
    pooling: tuple[int, int] = (1, 1)

    @property
    def rate(self) -> int:
        """Samples a second of what the front end is given."""
        return self.sample_rate or AUDIO[self.name][0]

    def audio(self, corpus: Corpus) -> Audio:
        """The sounds of `corpus` as the front end takes them."""
        return load_audio(corpus, self.rate, *AUDIO[self.name][1:3])

    def front_end(self) -> nn.Module:
        """The module from waveforms (B, T) to features (B, C, rows, frames)."""
        if self.name == "mel image":
            return SpectrogramImage()
        if self.name in ("stacked", "stretched"):
            return INPUTS[self.size].front_end(self.rate)
        rows, frames = self.pooling
        resample = torchaudio.transforms.Resample(self.rate, 22050) if self.rate != 22050 else nn.Identity()
        pool = nn.AvgPool2d((rows if self.name == "stft" else 1, frames), ceil_mode=True)
        return nn.Sequential(resample, CropSpectrogram(self.name), pool, nn.Unflatten(0, (-1, 1)))

    def features(
        self, corpus: Corpus, audio: Audio, clip_plan: ClipPlan, encoder: nn.Module | None = None, device="cpu"
    ) -> torch.Tensor:
        """Features (N, C, rows, frames) of the clips of a plan, from the cache if it has them: 8-bit ones as uint8, else float16.

        encoder: makes them in place of the front end."""

        def compute() -> dict[str, np.ndarray]:
            batch = AUDIO[self.name][3] if torch.device(device).type == "cpu" else 256
            front = encoder or self.front_end()
            return {"features": compute_features(audio.samples, clip_plan, front, batch, device).numpy()}

        choices = digest(encoder) if encoder else (self.size, tuple(self.pooling))
        # Segments are places in the array of these recordings: another selection may have the same ones and mean other sounds.
        place = (corpus.fingerprint, list(audio.start.index), audio.sample_rate)
        key = (*place, self.name, choices, clip_plan.n_samples, clip_plan.segments)
        code = ["lungnb.data.audio", "lungnb.classification.preprocessing"]
        return torch.from_numpy(cached_arrays(f"features/{corpus.name}", key, code, compute)["features"])


@torch.no_grad()
def compute_features(
    samples: np.ndarray, clip_plan: ClipPlan, front: nn.Module, batch: int, device="cpu"
) -> torch.Tensor:
    """The pass itself: see `Preprocessing.features`."""
    front, features, n = front.to(device), None, len(clip_plan)
    for start in range(0, n, batch):
        here = clip_plan.take(range(start, min(start + batch, n)))
        clips = torch.from_numpy(cut(samples, here)).to(device).float() / 32767
        part = (front(clips, torch.tensor(here.lengths)) if isinstance(front, StretchedMaps) else front(clips)).cpu()
        part = part if part.dtype == torch.uint8 else part.half()
        features = part.new_empty(n, *part.shape[1:]) if features is None else features
        features[start : start + len(part)] = part
    return features
