"""The diffusion of LungLDM as an experiment: a U-Net, and a tiny text encoder with it, on the latents of a finished VAE."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from diffusers.training_utils import EMAModel
from torch import nn
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from lungnb.core import UserError
from lungnb.data.prompts import check_prompt, vocabulary
from lungnb.papers.lungldm.classifier import EVAL_BATCH
from lungnb.papers.lungldm.experiments import (
    AutoencoderRun,
    Computed,
    StepsRun,
    VocoderRun,
    compiled_on_gpu,
    sample_rows,
)
from lungnb.papers.lungldm.frontend import LungMel, Mels
from lungnb.papers.lungldm.losses import denoising_loss
from lungnb.papers.lungldm.networks import PRESETS, Denoiser, GateName, LungUNet
from lungnb.papers.lungldm.pipeline import (
    Generated,
    LungLDMPipeline,
    Prediction,
    Sampler,
    clip_noise,
    make_scheduler,
    scale_latents,
)
from lungnb.papers.lungldm.text import encode, load_text_encoder, prompt_table, tiny_text_encoder, tokenize
from lungnb.training import make_accelerator


class WithEMA(nn.Module):
    """A network and the moving average of its weights, which is what generates (docs/papers/lungldm.md, section 3.5).

    The n-th update keeps min(decay, (1 + n) / (10 + n)) of the average, by diffusers' EMAModel. Average and n are saved with
    the weights, so that a training goes on where it stopped.
    """

    def __init__(self, net: nn.Module, decay: float):
        super().__init__()
        self.net, self.average = net, deepcopy(net).requires_grad_(False)
        self.ema = EMAModel([], decay, update_after_step=-1, foreach=True)
        self.ema.shadow_params = [*self.average.parameters()]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.net(*inputs)

    @property
    def n_updates(self) -> int:
        return self.ema.optimization_step

    def update(self) -> None:
        self.ema.step(self.net.parameters())

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(self.n_updates)

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.ema.optimization_step = int(state)


#: What a VAE's config says of the scale of its latents, as diffusers names it.
SCALES = ("scaling_factor", "latents_mean", "latents_std")


def latent_scale(latents: torch.Tensor, standardise: str) -> dict[str, Any]:
    """The SCALES by which latents (N, C, H, W) come to a standard deviation of 1, all together or channel by channel."""
    if standardise == "all":
        return {"scaling_factor": 1 / latents.std().item()}
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)).clamp(min=1e-6)
    return {"scaling_factor": 1.0, "latents_mean": mean.tolist(), "latents_std": std.tolist()}


class DiffusionRun(StepsRun):
    """The U-Net, and a tiny text encoder with it, on the latents of a finished VAE (docs/papers/lungldm.md, sections 3.4 and
    3.5)."""

    autoencoder: AutoencoderRun
    gate: GateName = "se"
    #: "tiny" (trained with the U-Net), or what `load_text_encoder` takes (frozen); none: what belongs to the size.
    text: str | None = None
    prediction: Prediction = "epsilon"
    condition_dropout: float = 0.1
    #: A type of n clips is drawn in proportion to n ** (1 - balance): 0 draws all clips equally often, 1 all types.
    balance: float = 0.0
    #: What latents are divided by: their one standard deviation, as AudioLDM does, or that of each channel, less its mean. A
    #: channel left faint is noise from the first step on.
    standardise: Literal["all", "channel"] = "all"
    #: As `denoising_loss` weighs steps.
    min_snr: float = 0.0
    warmup: int = 2000
    max_grad_norm: float = 1.0
    ema: float = 0.9999

    @property
    def _text(self) -> str:
        return self.text or PRESETS[self.size]["text"]

    def text_encoder(self) -> tuple[T5EncoderModel, PreTrainedTokenizerBase]:
        """Encoder and tokenizer; a tiny encoder is untrained."""
        return tiny_text_encoder(vocabulary()) if self._text == "tiny" else load_text_encoder(self._text)

    def denoiser(self, encoder: T5EncoderModel) -> Denoiser:
        """The untrained network for texts of `encoder`, which becomes a part of it if it is tiny."""
        options = PRESETS[self.size]["unet"] | {"cross_attention_dim": encoder.config.d_model, "gate": self.gate}
        return Denoiser(LungUNet(**options), encoder if self._text == "tiny" else None)

    def training_clips(self, mels: Mels) -> torch.Tensor:
        """Rows of the training clips, or of a short training as many as it draws: the others need not be encoded.

        Where types are balanced, all: of the rare types none can be spared."""
        train = mels.rows("train")
        if self.balance:
            return train
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))
        return train[order[: self.steps * self.batch_size].sort().values.to(train.device)]

    def compute(self, checkpoint: Path) -> Computed:
        self.refuse_other(self.autoencoder)
        accelerator = make_accelerator(self.device, self.precision)
        device = accelerator.device
        mels = self.mels(device)
        train, validation = self.training_clips(mels), mels.validation_subset()
        rows = torch.cat([train, validation])
        places = torch.arange(len(rows), device=device)  # of the rows in the latents
        latents = self.autoencoder.latents(mels, rows).to(device)
        scale = latent_scale(latents[: len(train)].float(), self.standardise)
        torch.manual_seed(self.seed)
        encoder, tokenizer = self.text_encoder()
        model = WithEMA(self.denoiser(encoder).to(device), self.ema)
        compiled_on_gpu(model.net)
        table, noise = prompt_table(mels.events, device), make_scheduler("ddim", self.prediction)
        if self._text == "tiny":
            text, mask = (x.to(device) for x in tokenize(table.texts, tokenizer))
        else:  # features (P, L, D), computed once
            text, mask = encode(table.texts, encoder.to(device), tokenizer)
        sound = pd.Series(mels.sound[train.cpu().numpy()])
        weights = torch.tensor(sound.map(sound.value_counts() ** -self.balance).to_numpy(float), device=device)

        def loss(net: nn.Module, at: torch.Tensor, number: torch.Tensor, generator: torch.Generator, step=None):
            scaled = scale_latents(latents[at].float(), scale)
            return denoising_loss(net, noise, scaled, text[number], mask[number], generator, step, self.min_snr)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            at = sample_rows(places[: len(train)], items, generator, weights)
            return loss(net, at, table.draw(rows[at], generator, self.condition_dropout), generator).mean()

        def validate(net: nn.Module) -> pd.DataFrame:
            """Step, and loss by the whole prompt, of each validation clip, whose noise is always the same."""
            generator, parts = torch.Generator(device).manual_seed(0), []
            for at in places[len(train) :].split(EVAL_BATCH):
                step = torch.randint(len(noise), at.shape, generator=generator, device=device)
                losses = loss(net, at, table.whole(rows[at]), generator, step)
                parts.append(pd.DataFrame({"step": step.cpu().numpy(), "loss": losses.cpu().numpy()}))
            return pd.concat(parts, ignore_index=True)

        fitted = self.fit_steps(
            model,
            loss_of,
            lambda model: {"val_loss": float(validate(model.average)["loss"].mean())},
            accelerator=accelerator,
            optimizer=self.optimizer(model),
            max_grad_norm=self.max_grad_norm,
            checkpoint=checkpoint,
            task=f"diffusion, gates {self.gate}",
        )
        model.eval()
        with torch.no_grad():
            predictions = mels.metadata(validation).join(validate(model.average))
        last, prefix = fitted.states["last"], "average."
        state = {name.removeprefix(prefix): last[name] for name in last if name.startswith(prefix)}
        networks = {
            "unet": model.net.unet,
            "vae": self.autoencoder.network(LungMel(**self.front_end)).vae,
            "text": encoder,
        }
        facts = mels.facts | {
            "n_seen": len(train),
            "n_prompts": len(table.texts) - 1,
            "n_steps": model.n_updates,
            "n_parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()},
            **scale,
        }
        return fitted.history, predictions, state, facts

    def optimizer(self, model: WithEMA) -> torch.optim.Optimizer:
        """AdamW whose rate warms up step by step, and after whose steps the average follows."""
        optimizer = torch.optim.AdamW(model.net.parameters(), self.lr, fused=True)

        def warm_up(*_) -> None:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * min(1.0, (model.n_updates + 1) / max(self.warmup, 1))

        optimizer.register_step_pre_hook(warm_up)
        optimizer.register_step_post_hook(lambda *_: model.update())
        return optimizer

    def pipeline(self, sampler: Sampler = "dpm", vocoder: VocoderRun | None = None) -> LungLDMPipeline:
        """The finished model on its device, from prompt to waveform; without a finished vocoder by Griffin-Lim."""
        self.refuse_other(vocoder)
        encoder, tokenizer = self.text_encoder()
        network = self.denoiser(encoder)
        network.load_state_dict(self.state)
        network.eval()
        autoencoder = self.autoencoder.trained("cpu")
        facts = self.result()
        autoencoder.vae.register_to_config(**{name: facts[name] for name in SCALES if name in facts})
        pipeline = LungLDMPipeline(
            autoencoder.mel,
            autoencoder.vae,
            network.unet,
            encoder.eval(),
            tokenizer,
            make_scheduler(sampler, self.prediction),
            vocoder and vocoder.trained("cpu"),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(make_accelerator(self.device).device)

    def generate(
        self,
        prompts: Sequence[str],
        steps: int | None = None,
        guidance: float = 3.5,
        seed: int = 0,
        sampler: Sampler = "dpm",
        vocoder: VocoderRun | None = None,
        batch_size: int | None = None,
    ) -> Generated:
        """A clip for each prompt by the finished model: log-mels (N, 1, frames, 64) and waveforms (N, T), on the CPU.

        Each clip starts from noise of its own, drawn by `seed` and its place, whatever the batch and the device.
        Raises UserError for a prompt that `check_prompt` refuses, and for none.
        """
        texts = [check_prompt(text) for text in prompts]
        if not texts:
            raise UserError("There is no prompt to generate from; give one at least.")
        pipeline, noise = self.pipeline(sampler, vocoder), clip_noise(len(texts), seed)
        # With 64 at once a CPU takes 1.6 times as long as with 16, whose maps its caches hold.
        batch_size, parts = batch_size or (16 if pipeline.device.type == "cpu" else 64), []
        for first in range(0, len(texts), batch_size):
            batch = slice(first, first + batch_size)
            parts.append(pipeline(texts[batch], self.seconds, steps, guidance, generator=noise[batch]))
        return Generated(*map(torch.cat, zip(*parts, strict=True)))
