"""Log-mel to waveform: the HiFi-GAN of AudioLDM's layout, large or small, and Griffin-Lim as the open fallback."""

import torch
import torchaudio
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from lungnb.papers.lungldm.mel import LungMel

#: SpeechT5HifiGanConfig of AudioLDM (docs/papers/lungldm.md, section 3.5): 160 samples a frame of 64 bands.
AUDIOLDM_LAYOUT = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "normalize_before": False,
}


def hifigan(**options) -> SpeechT5HifiGan:
    """An untrained HiFi-GAN, log-mel (B, frames, 64) -> waveform (B, 160 * frames + 32); `options` change AudioLDM's layout.

    Its weights start as PyTorch's convolutions do. transformers starts them at 0.01: the sound is then so faint that its mel
    lies under the floor everywhere, and no gradient comes back.
    """
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**AUDIOLDM_LAYOUT | options))
    for layer in vocoder.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            layer.reset_parameters()
    return vocoder


class GriffinLim(nn.Module):
    """Log-mel (B, frames, n_mels) -> waveform (B, hop_length * frames), called as the HiFi-GAN is, with nothing to train.

    The magnitudes come from the mel bands by the pseudo-inverse of the filters, the phases from `n_iter` rounds of Griffin
    and Lim with momentum. Half a hop at either end, where no frame has its centre, is silent.
    """

    def __init__(self, mel: LungMel, n_iter: int = 32):
        super().__init__()
        self.hop_length = mel.config.hop_length
        self.register_buffer("inverse", torch.linalg.pinv(mel.bank.float()), persistent=False)
        self.phases = torchaudio.transforms.GriffinLim(
            mel.config.n_fft, n_iter, mel.config.win_length, self.hop_length, power=1.0, rand_init=False
        )

    @torch.no_grad()
    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        magnitude = (log_mel.float().exp() @ self.inverse).clamp(min=0)
        # Our frames have their centres half a hop after those of a centred transform (see LungMel).
        return nn.functional.pad(self.phases(magnitude.mT), (self.hop_length // 2, self.hop_length // 2))


def to_waveform(vocoder: nn.Module, log_mel: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Log-mel (B, 1, frames, n_mels) -> waveform (B, n_samples); the HiFi-GAN's last 32 samples, and more, are cut off."""
    return vocoder(log_mel[:, 0])[:, :n_samples]


def vocoder_loss(vocoder: nn.Module, mel: LungMel, waveform: torch.Tensor) -> torch.Tensor:
    """Mean |mel(vocoder(mel(x))) - mel(x)| of waveforms (B, T): HiFi-GAN's mel term, without its discriminators."""
    target = mel(waveform)
    return (mel(to_waveform(vocoder, target, waveform.shape[1])) - target).abs().mean()
