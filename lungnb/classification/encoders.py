"""Frozen encoders: networks that were trained on other sounds and make numbers of ours, from which a regression reads.

    encoder("resemblyzer")                              the speaker encoder of the Resemblyzer package
    encoder("MIT/ast-finetuned-audioset-10-10-0.4593")  an audio model of `transformers`, by its name on the hub or its folder

An encoder takes waveforms (B, T) at 16 kHz and gives features (B, 1, D, 1): D numbers, without time. Its control is the same
network with random weights.
"""

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import torch
import torchaudio
from torch import nn

from lungnb.core import UserError

#: Sample rate (Hz) of what encoders are given.
RATE = 16000
#: What the folder of a `transformers` model consists of.
FILES = (".json", ".safetensors")


class SpeakerEncoder(nn.Module):
    """Waveforms (B, T) at 16 kHz -> (B, 1, 256, 1), as the `embed_utterance` of Resemblyzer 0.1.4 (Apache-2.0; Wan et al. 2018,
    "Generalized end-to-end loss for speaker verification") without its trimming of what is no voice.

    40 mel bands (25 ms every 10 ms, power, no logarithm) of sound raised to -30 dB of full scale; windows of 160 frames, 77
    apart, through an LSTM of three layers; its last state, through a linear layer and ReLU, of length 1; of these the mean, of
    length 1. A last window is kept if sound fills three quarters of it.
    """

    FRAMES, STEP, FILLED, LEVEL_DB = 160, 77, 0.75, -30.0

    def __init__(self):
        super().__init__()
        mel = {"n_fft": 400, "hop_length": 160, "n_mels": 40, "pad_mode": "constant"}
        self.mel = torchaudio.transforms.MelSpectrogram(RATE, norm="slaney", mel_scale="slaney", **mel)
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def starts(self, n_samples: int) -> list[int]:
        """First frame of each window of a sound of `n_samples`."""
        n_frames = -(-(n_samples + 1) // 160)
        starts = list(range(0, max(1, n_frames - self.FRAMES + self.STEP + 1), self.STEP))
        short = n_samples - 160 * starts[-1] < self.FILLED * 160 * self.FRAMES
        return starts[:-1] if short and len(starts) > 1 else starts

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        level = waveform.square().mean(1, keepdim=True).clamp(min=1e-12).sqrt()
        waveform = waveform * (10 ** (self.LEVEL_DB / 20) / level).clamp(min=1)
        starts = self.starts(waveform.shape[1])
        missing = max(0, 160 * (starts[-1] + self.FRAMES) - waveform.shape[1])
        frames = self.mel(nn.functional.pad(waveform, (0, missing))).transpose(1, 2)
        windows = torch.stack([frames[:, first : first + self.FRAMES] for first in starts], dim=1)
        state = self.lstm(windows.flatten(0, 1))[1][0][-1]
        each = nn.functional.normalize(self.linear(state).relu(), dim=1).unflatten(0, windows.shape[:2])
        return nn.functional.normalize(each.mean(1), dim=1)[:, None, :, None]


class AudioTransformer(nn.Module):
    """An audio model of `transformers` (AST, wav2vec 2.0, HuBERT, WavLM, Whisper) behind its own feature extractor:
    waveforms (B, T) at 16 kHz -> (B, 1, D, 1), the mean of its last hidden states."""

    def __init__(self, extractor, model: nn.Module):
        super().__init__()
        self.extractor = extractor
        self.model = model.get_encoder() if model.config.is_encoder_decoder else model

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        rate = self.extractor.sampling_rate
        sounds = torchaudio.functional.resample(waveform, RATE, rate).cpu().numpy()
        given = self.extractor(list(sounds), sampling_rate=rate, return_tensors="pt").to(waveform.device)
        return self.model(**given).last_hidden_state.mean(1)[:, None, :, None]


def encoder(name: str, random_weights: bool = False, seed: int = 0) -> nn.Module:
    """The frozen encoder `name`, in evaluation mode; with random weights the same network, drawn by `seed`.

    "resemblyzer": of its package, installed without what it depends on or with its wheel on PYTHONPATH, only the file of weights
    is read. Else a name on the hub, or a folder, of a `transformers` model. Raises UserError if the weights cannot be had;
    nothing is taken in their place.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = _speaker_encoder(random_weights) if name == "resemblyzer" else _transformer(name, random_weights)
    return made.eval().requires_grad_(False)


def digest(network: nn.Module) -> str:
    """A hash of all weights of a network, and of how sounds are given to it: others make other features."""
    hashed = hashlib.blake2b(type(network).__name__.encode(), digest_size=8)
    if isinstance(network, AudioTransformer):
        hashed.update((network.extractor.to_json_string() + network.model.config.to_json_string()).encode())
    for name, value in network.state_dict().items():
        hashed.update(name.encode())
        hashed.update(value.cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def _speaker_encoder(random_weights: bool) -> SpeakerEncoder:
    network = SpeakerEncoder()
    if random_weights:
        return network
    spec = find_spec("resemblyzer")  # of a package at the top this runs none of its code
    if spec is None or spec.loader is None:
        raise UserError(
            "Resemblyzer, whose weights are asked for, is not installed; `pip install --no-deps Resemblyzer==0.1.4`, or put its "
            "wheel on PYTHONPATH."
        )
    try:
        stored = spec.loader.get_data(str(Path(spec.origin).parent / "pretrained.pt"))
        state = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)["model_state"]
        network.load_state_dict({k: state[k] for k in network.state_dict() if not k.startswith("mel.")}, strict=False)
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{Path(spec.origin).parent} holds no weights of Resemblyzer 0.1.4 ({error}); install that version."
        ) from error
    return network


def _transformer(name: str, random_weights: bool) -> AudioTransformer:
    try:
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
    except ImportError as error:
        raise UserError(f"{name!r} needs transformers; `pip install 'lungnb[ldm]'` brings it.") from error
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        extractor = AutoFeatureExtractor.from_pretrained(place)
        if random_weights:
            model = AutoModel.from_config(AutoConfig.from_pretrained(place))
        else:
            model = AutoModel.from_pretrained(place, use_safetensors=True)
        return AudioTransformer(extractor, model.float())  # whatever it is stored in
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{name!r} is no audio model that can be read ({reason}); give a folder with its configuration, "
            "feature extractor and safetensors, a name on the hub where that can be reached, or resemblyzer."
        ) from error
