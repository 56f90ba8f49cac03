"""The diffusion of LungLDM as a run: a U-Net, and a tiny text encoder with it, trained on the latents of a finished VAE."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from diffusers import DDIMScheduler
from torch import nn
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from lungnb.core import UserError
from lungnb.data.prompts import check_prompt, vocabulary
from lungnb.papers.lungldm.experiments import (
    EVAL_BATCH,
    AutoencoderRun,
    about,
    compiled_on_gpu,
    drawn,
    fit_steps,
    followed,
)
from lungnb.papers.lungldm.gates import GateName
from lungnb.papers.lungldm.mels import LungRun, Mels, PromptTable, cached, mels_of, prompt_table
from lungnb.papers.lungldm.pipeline import Generated, LungLDMPipeline, make_scheduler
from lungnb.papers.lungldm.presets import PRESETS
from lungnb.papers.lungldm.text import encode_distinct, load_text_encoder, tiny_text_encoder, tokenize
from lungnb.papers.lungldm.unet import LungUNet
from lungnb.papers.lungldm.vocoder_experiment import VocoderRun
from lungnb.training import State, make_accelerator


class Denoiser(nn.Module):
    """Noisy latents (B, 8, frames / 4, 16), step (B,) and text -> noise, or velocity, of that shape.

    text: tokens (B, L) int64 if the encoder is trained too, else the features (B, L, D) of a frozen one; with its mask (B, L).
    """

    def __init__(self, unet: LungUNet, text: T5EncoderModel | None):
        super().__init__()
        self.unet, self.text = unet, text

    def forward(self, noisy: torch.Tensor, step: torch.Tensor, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.text is not None:
            text = self.text(input_ids=text, attention_mask=mask).last_hidden_state
        return self.unet(noisy, step, encoder_hidden_states=text, encoder_attention_mask=mask).sample


class Averaged(nn.Module):
    """A network and the moving average of its weights, which is what generates (docs/papers/lungldm.md, section 3.5).

    `n` counts the updates; it is saved with the weights, so that a training goes on where it stopped.
    """

    def __init__(self, net: nn.Module, decay: float):
        super().__init__()
        self.net, self.average, self.decay, self.n = net, deepcopy(net).requires_grad_(False), decay, 0

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.net(*inputs)

    @torch.no_grad()
    def update(self) -> None:
        self.n += 1
        pairs = ([*self.average.parameters()], [*self.net.parameters()])
        torch._foreach_lerp_(*pairs, 1 - ema_decay(self.n, self.decay))

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(self.n)

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.n = int(state)


def ema_decay(n: int, decay: float) -> float:
    """Share of the average that the n-th update keeps: (1 + n) / (10 + n), at most `decay`."""
    return min(decay, (1 + n) / (10 + n))


class DiffusionRun(LungRun):
    """The U-Net on the latents of a finished VAE. Defaults are those of docs/papers/lungldm.md, sections 3.4 and
    3.5."""

    autoencoder: AutoencoderRun
    gate: GateName = "se"
    #: "tiny" (trained with the U-Net), or what `load_text_encoder` takes (frozen); none: what belongs to the size.
    text: str | None = None
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    condition_dropout: float = 0.1
    #: A type of n clips is drawn in proportion to n ** (1 - balance): 0 draws all clips equally often, 1 all types.
    balance: float = 0.0
    steps: int = 250_000
    batch_size: int = 8
    lr: float = 2e-4
    warmup: int = 2000
    max_grad_norm: float = 1.0
    ema: float = 0.9999

    def text_encoder(self) -> tuple[T5EncoderModel, PreTrainedTokenizerBase]:
        """Encoder and tokenizer; a tiny encoder is untrained."""
        return tiny_text_encoder(vocabulary()) if self._is_tiny else load_text_encoder(self._text)

    def network(self, encoder: T5EncoderModel) -> Denoiser:
        """The untrained network for texts of `encoder`, which becomes a part of it if it is tiny."""
        options = PRESETS[self.size]["unet"] | {"cross_attention_dim": encoder.config.d_model, "gate": self.gate}
        return Denoiser(LungUNet(**options), encoder if self._is_tiny else None)

    def pipeline(self, sampler: Literal["ddim", "dpm"] = "dpm", vocoder: VocoderRun | None = None) -> LungLDMPipeline:
        """The finished model, from prompt to waveform; without a finished vocoder by Griffin-Lim."""
        encoder, tokenizer = self.text_encoder()
        network = self.network(encoder)
        network.load_state_dict(self.state)
        network.eval()
        autoencoder = self.autoencoder.trained()
        autoencoder.vae.register_to_config(scaling_factor=self.result()["scaling_factor"])
        scheduler = make_scheduler(sampler, self.prediction)
        if vocoder is not None:
            self.refuse_other(vocoder)
            vocoder = vocoder.trained()
        return LungLDMPipeline(
            autoencoder.mel, autoencoder.vae, network.unet, encoder.eval(), tokenizer, scheduler, vocoder
        )

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        self.refuse_other(self.autoencoder)
        accelerator = make_accelerator(self.device, self.precision)
        device = accelerator.device
        given = mels_of(self, device)
        train, held = self._seen(given.rows("train")), followed(given)
        rows = torch.cat([train, held])
        places = torch.arange(len(rows), device=device)  # of the rows in the latents
        latents = latents_of(self.autoencoder, given, rows).to(device)
        scaling_factor = 1 / latents[: len(train)].float().std().item()
        torch.manual_seed(self.seed)
        encoder, tokenizer = self.text_encoder()
        model = Averaged(self.network(encoder), self.ema).to(device)
        compiled_on_gpu(model.net)
        said = prompt_table(given.table, device)
        text, mask = self._read(said, encoder, tokenizer, device)
        noise = make_scheduler("ddim", self.prediction)
        sound = given.table["sound"].iloc[train.cpu().numpy()]
        weights = torch.tensor(sound.map(sound.value_counts() ** -self.balance).to_numpy(float), device=device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            at = drawn(places[: len(train)], items, generator, weights)
            number = said.draw(rows[at], generator, self.condition_dropout)
            return losses(
                net, noise, latents[at].float() * scaling_factor, text[number], mask[number], generator
            ).mean()

        def evaluate(model: Averaged) -> dict[str, float]:
            return {"val_loss": float(follow(model.average)["loss"].mean())}

        def follow(net: Denoiser) -> pd.DataFrame:
            """Step, and loss by the whole prompt, of each of `held`, whose noise is always the same."""
            generator, parts = torch.Generator(device).manual_seed(0), []
            for at in places[len(train) :].split(EVAL_BATCH):
                step = torch.randint(len(noise), at.shape, generator=generator, device=device)
                number = said.whole(rows[at])
                scaled = latents[at].float() * scaling_factor
                loss = losses(net, noise, scaled, text[number], mask[number], generator, step)
                parts.append(pd.DataFrame({"step": step.cpu().numpy(), "loss": loss.cpu().numpy()}))
            return pd.concat(parts, ignore_index=True)

        fitted = fit_steps(
            model,
            loss_of,
            self._optimizer(model),
            evaluate,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            max_grad_norm=self.max_grad_norm,
            checkpoint=checkpoint,
            task=f"diffusion, gates {self.gate}",
        )
        model.eval()
        with torch.no_grad():
            predictions = about(given, held).join(follow(model.average))
        prefix = "average."
        state = {k.removeprefix(prefix): v for k, v in fitted.states["last"].items() if k.startswith(prefix)}
        facts = {
            "notes": given.notes,
            "n_clips": given.n_clips,
            "n_seen": len(train),
            "n_prompts": len(said.texts) - 1,
            "n_steps": model.n,
            "n_parameters": {
                "unet": sum(p.numel() for p in model.net.unet.parameters()),
                "vae": sum(p.numel() for p in self.autoencoder.trained().vae.parameters()),
                "text": sum(p.numel() for p in encoder.parameters()),
            },
            "scaling_factor": scaling_factor,
        }
        return fitted.history, predictions, state, facts

    def _seen(self, train: torch.Tensor) -> torch.Tensor:
        """The training clips, or of a short training as many as it draws: the others need not be encoded."""
        n = min(len(train), self.steps * self.batch_size)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))
        return train[order[:n].sort().values.to(train.device)]

    @property
    def _text(self) -> str:
        return self.text or PRESETS[self.size]["text"]

    @property
    def _is_tiny(self) -> bool:
        return self._text == "tiny"

    def _read(self, said: PromptTable, encoder, tokenizer, device) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network gets of each text, and its mask (P, L): tokens (P, L), or features (P, L, D), computed once."""
        if self._is_tiny:
            tokens, mask = tokenize(said.texts, tokenizer)
            return tokens.to(device), mask.to(device)
        encoded = encode_distinct(said.texts, encoder.to(device), tokenizer)
        return encoded.states, encoded.mask

    def _optimizer(self, model: Averaged) -> torch.optim.Optimizer:
        """AdamW whose rate warms up step by step, and after whose steps the average follows."""
        optimizer = torch.optim.AdamW(model.net.parameters(), self.lr, fused=True)

        def warm(*_) -> None:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * min(1.0, (model.n + 1) / max(self.warmup, 1))

        optimizer.register_step_pre_hook(warm)
        optimizer.register_step_post_hook(lambda *_: model.update())
        return optimizer


def losses(
    net: Callable,
    noise: DDIMScheduler,
    latents,
    text,
    mask,
    generator: torch.Generator,
    step: torch.Tensor | None = None,
) -> torch.Tensor:
    """Squared error (B,) of what `net` makes of noise, or of velocity, for scaled latents at random steps, or these."""
    if step is None:
        step = torch.randint(len(noise), latents.shape[:1], generator=generator, device=latents.device)
    drawn_noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    noisy = noise.add_noise(latents, drawn_noise, step)
    is_velocity = noise.config.prediction_type == "v_prediction"
    target = noise.get_velocity(latents, drawn_noise, step) if is_velocity else drawn_noise
    return (net(noisy, step, text, mask).float() - target).square().flatten(1).mean(dim=1)


def latents_of(autoencoder: AutoencoderRun, given: Mels, rows: torch.Tensor) -> torch.Tensor:
    """The latents (N, 8, frames / 4, 16) of the clips `rows` (N,) by a finished VAE, float16: encoded once, then cached."""

    def compute() -> tuple[np.ndarray, np.ndarray]:
        network = autoencoder.trained().to(given.log_mel.device)
        with torch.inference_mode():
            parts = [network.encode(given.log_mel[part]).half().cpu() for part in rows.split(EVAL_BATCH)]
        return torch.cat(parts).numpy(), np.zeros(0)

    return cached("latents/lungldm", (autoencoder.uid, rows.tolist()), compute)[0]


def generate(
    run: DiffusionRun,
    prompts: Sequence[str],
    steps: int | None = None,
    guidance: float = 3.5,
    seed: int = 0,
    sampler: Literal["ddim", "dpm"] = "dpm",
    vocoder: VocoderRun | None = None,
    batch_size: int | None = None,
) -> Generated:
    """A clip for each prompt by the finished `run`: log-mels (N, 1, frames, 64) and waveforms (N, T), on the CPU.

    Each clip starts from noise of its own, drawn by `seed` and its place, whatever the batch and the device.
    Raises UserError for a prompt that `check_prompt` refuses, and for none.
    """
    texts = [check_prompt(text) for text in prompts]
    if not texts:
        raise UserError("There is no prompt to generate from; give one at least.")
    device = make_accelerator(run.device).device
    # With 64 at once a CPU takes 1.6 times as long as with 16, whose maps its caches hold.
    batch_size = batch_size or (16 if device.type == "cpu" else 64)
    pipeline = run.pipeline(sampler, vocoder).to(device)
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for first in range(0, len(texts), batch_size):
        places = range(first, min(first + batch_size, len(texts)))
        noise = [torch.Generator().manual_seed(seed * 1_000_003 + k) for k in places]
        parts.append(
            pipeline([texts[k] for k in places], PRESETS[run.size]["seconds"], steps, guidance, generator=noise)
        )
    return Generated(*(torch.cat([getattr(part, name) for part in parts]) for name in ("waveforms", "log_mels")))
