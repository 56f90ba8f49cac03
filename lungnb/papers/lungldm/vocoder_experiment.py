"""The vocoder of LungLDM as a run: a HiFi-GAN of AudioLDM's layout, trained on the waveforms of the clips."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from transformers import SpeechT5HifiGan

from lungnb.papers.lungldm.experiments import EVAL_BATCH, about, drawn, fit_steps, followed
from lungnb.papers.lungldm.mel import LungMel
from lungnb.papers.lungldm.mels import LungRun, mels_of
from lungnb.papers.lungldm.presets import PRESETS
from lungnb.papers.lungldm.vocoder import hifigan, vocoder_loss
from lungnb.training import State, make_accelerator


class VocoderRun(LungRun):
    """The vocoder, by HiFi-GAN's mel loss alone: without its discriminators the sound is duller than a GAN's.

    It is trained in float32 whatever the precision: the loss takes a Fourier transform, which knows no bfloat16.
    """

    steps: int = 250_000
    batch_size: int = 8
    lr: float = 2e-4

    def network(self) -> SpeechT5HifiGan:
        """The untrained network."""
        return hifigan(**PRESETS[self.size]["vocoder"])

    def trained(self) -> SpeechT5HifiGan:
        """The selected network of the finished run, in evaluation mode."""
        network = self.network()
        network.load_state_dict(self.state)
        return network.eval()

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        accelerator = make_accelerator(self.device)
        given = mels_of(self, accelerator.device)
        train, held = given.rows("train"), followed(given)
        mel = LungMel(**PRESETS[self.size]["mel"]).to(accelerator.device)
        torch.manual_seed(self.seed)
        network = self.network().to(accelerator.device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return vocoder_loss(net, mel, given.waveforms(drawn(train, items, generator)))

        @torch.no_grad()
        def deviations(net: nn.Module) -> pd.Series:
            """Of each clip that is followed, what its mel is missed by on average."""
            waves = (given.waveforms(part) for part in held.split(EVAL_BATCH))
            return pd.Series([float(vocoder_loss(net, mel, wave[None])) for part in waves for wave in part])

        fitted = fit_steps(
            network,
            loss_of,
            torch.optim.AdamW(network.parameters(), self.lr, fused=True),
            lambda net: {"val_loss": float(deviations(net).mean())},
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            select={"validation": "-val_loss"},
            max_grad_norm=1.0,
            checkpoint=checkpoint,
            task="vocoder",
        )
        network.load_state_dict(fitted.states["validation"])
        predictions = about(given, held).assign(l1=deviations(network.eval()))
        facts = {
            "notes": given.notes,
            "epoch": fitted.epochs["validation"],
            "n_clips": given.n_clips,
            "n_parameters": sum(p.numel() for p in network.parameters()),
            "l1": float(predictions["l1"].mean()),
        }
        return fitted.history, predictions, fitted.states["validation"], facts
