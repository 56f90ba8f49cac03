"""Does a generator give back its training clips? What it makes, and copies that a test has to find, beside all it has heard.

One row a clip, from which `lungnb.book.clips` counts how many are found. Whatever a generator makes comes out of the decoder of
its VAE, so training clips and strangers go through it, too, before anything is compared.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.core import cached_arrays
from lungnb.data.prompts import prompts
from lungnb.metrics.embedding import HELD_OUT, cell_means, nearest_training
from lungnb.papers.lungldm.classifier import in_batches
from lungnb.papers.lungldm.evaluation import GeneratedClipsRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, Computed, LungRun
from lungnb.papers.lungldm.frontend import Mels
from lungnb.papers.lungldm.judges import clip_table
from lungnb.papers.lungldm.pipeline import LungLDMPipeline, make_scheduler, scale_latents, unscale_latents
from lungnb.papers.lungldm.text import encode

#: The sets of clips; strangers are test clips, of patients whom nobody has heard.
GENERATED, THROUGH, NOISED, STRANGERS = (
    "generated",
    "training clips through the VAE",
    "training clips, half noised",
    "strangers",
)
_FOUND = ["distance", "ratio"]
#: Pairs whose pictures are kept.
N_PAIRS = 6


class CopiesRun(LungRun):
    """How near clips come to the nearest of all training clips: generated ones, two kinds of copies, and strangers.

    Columns of the predictions beside those of `clip_table`: row (the set), distance and ratio (`nearest_training`, of log-mels
    over 4 x 4 cells). The state holds the log-mels (2, N_PAIRS, frames, n_mels) of the generated clips that stand out most, and
    of their nearest training clips.
    """

    generated: GeneratedClipsRun
    #: The step from which noised copies are made again, as a share of all: half of the way to pure noise.
    noised: float = 0.5
    steps: int = 25

    def compute(self, checkpoint: Path) -> Computed:
        self.refuse_other(self.generated)
        mels, diffusion = self.mels(), self.generated.diffusion
        vae = diffusion.autoencoder.trained("cpu")
        originals, strangers = (torch.from_numpy(self.generated.asked(mels, part)) for part in ("train", "test"))
        trained_on = diffusion.training_clips(mels)
        made = self.generated.predictions.query("row == 'generated'")
        log_mels = {
            GENERATED: self.generated.state["log_mels"].float(),
            THROUGH: reconstructed(diffusion.autoencoder, mels, originals).float(),
            NOISED: self.made_again(diffusion.pipeline(), vae, mels, originals),
        }
        known = reconstructed(diffusion.autoencoder, mels, trained_on).float()
        unknown = in_batches(vae.reconstruct, mels.log_mel, strangers)
        near = nearest_training(cell_means(known), cell_means(unknown), {k: cell_means(x) for k, x in log_mels.items()})
        copied = clip_table(mels, originals.numpy())
        tables = {GENERATED: made[copied.columns], THROUGH: copied, NOISED: copied}
        tables[STRANGERS] = clip_table(mels, strangers.numpy())
        parts = [
            table.reset_index(drop=True).assign(
                row=name, **near.loc[near["clips"] == (HELD_OUT if name == STRANGERS else name), _FOUND].to_dict("list")
            )
            for name, table in tables.items()
        ]
        suspects = near[near["clips"] == GENERATED].nsmallest(N_PAIRS, "ratio")
        pairs = [log_mels[GENERATED][suspects["place"].to_list()], known[suspects["nearest"].to_list()]]
        state = {"pairs": torch.stack(pairs)[:, :, 0].half().contiguous()}
        return pd.DataFrame(columns=["epoch"]), pd.concat(parts, ignore_index=True), state, mels.facts

    @torch.inference_mode()
    def made_again(self, pipeline: LungLDMPipeline, vae: nn.Module, mels: Mels, rows: torch.Tensor) -> torch.Tensor:
        """Log-mels (N, 1, frames, n_mels) of clips whose latents were noised by `noised` and denoised with their own prompts, not
        guided: what a generator would make that remembers a clip in outline."""
        generator, parts = torch.Generator().manual_seed(self.seed), []
        for some in rows.split(16):
            latents = scale_latents(vae.encode(mels.log_mel[some].float()), pipeline.vae.config)
            texts = list(prompts(mels.events.iloc[some.numpy()].reset_index(drop=True)))
            parts.append(half_noised(pipeline, latents, texts, self.noised, self.steps, generator))
        return torch.cat(parts)


def reconstructed(autoencoder: AutoencoderRun, mels: Mels, rows: torch.Tensor) -> torch.Tensor:
    """Log-mels (N, 1, frames, n_mels) float16 of the training clips `rows` (N,) through a finished VAE, on the CPU: where many
    are asked for, all training clips are sent through once, then cached."""
    every = mels.rows("train").cpu()

    def through(asked: torch.Tensor) -> torch.Tensor:
        return in_batches(autoencoder.trained(mels.log_mel.device).reconstruct, mels.log_mel, asked).half()

    if len(rows) < len(every) // 4:
        return through(rows)

    def compute() -> dict[str, np.ndarray]:
        return {"log_mels": through(every).numpy()}

    arrays = cached_arrays("reconstructions/lungldm", (autoencoder.uid, len(every)), [__name__], compute)
    places = torch.searchsorted(every, rows.cpu())
    return torch.from_numpy(arrays["log_mels"])[places]


def half_noised(
    pipeline: LungLDMPipeline,
    latents: torch.Tensor,
    texts: list[str],
    share: float,
    steps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Log-mels (B, 1, frames, n_mels) of scaled latents (B, C, H, W) that go `share` of the way to noise, and back by DDIM."""
    scheduler = make_scheduler("ddim", pipeline.scheduler.config.prediction_type)
    scheduler.set_timesteps(steps)
    text, mask = encode(texts, pipeline.text_encoder, pipeline.tokenizer)
    left = scheduler.timesteps[scheduler.timesteps < share * len(scheduler)]
    noise = torch.randn(latents.shape, generator=generator)
    x = scheduler.add_noise(latents, noise, left[:1].expand(len(latents)))
    for step in left:
        predicted = pipeline.unet(x, step, encoder_hidden_states=text, encoder_attention_mask=mask).sample
        x = scheduler.step(predicted, step, x).prev_sample
    return pipeline.mel.unstandardise(pipeline.vae.decode(unscale_latents(x, pipeline.vae.config)).sample)
