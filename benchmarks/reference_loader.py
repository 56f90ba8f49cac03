"""A per-item loader that does what RespireNet's released code does for each clip of each epoch, written with librosa.

The yardstick of `bench_respirenet.py`. It follows the released code (docs/papers/respirenet.md, section 2): cycles wait
in memory at 4 kHz, and each item is augmented, rolled, padded, turned into a mel spectrogram twice (for the image, and
again for blank region clipping), coloured, resized and standardised on its own. Nothing is slowed down: the frequency
warp is vectorised, which that of the package used by the released code is not.
"""

import cv2
import librosa
import matplotlib
import numpy as np

RATE = 4000
MEAN, STD = np.float32([0.5091, 0.1739, 0.4363]), np.float32([0.2288, 0.1285, 0.0743])
MAGMA = matplotlib.colormaps["magma"]


class ReferenceLoader:
    """cycles: float32 arrays at 4 kHz. `loader[i]` is the image (3, 64 * zoom, frames * zoom) of cycle i."""

    def __init__(self, cycles: list[np.ndarray], clip_s: float, zoom: int, clip_blank: bool, seed: int = 0):
        self.cycles, self.n_samples, self.zoom, self.clip_blank = cycles, round(clip_s * RATE), zoom, clip_blank
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.cycles)

    def __getitem__(self, i: int) -> np.ndarray:
        clip = self._pad(self.cycles[i])
        if self.rng.random() < 0.5:
            clip = self._pad(self._augment(clip))
        if self.rng.random() < 0.5:
            clip = np.roll(clip, self.rng.integers(len(clip)))
        image = cv2.flip(_mel_image(clip, self.zoom), 0)
        if self.clip_blank:
            image = _clip_blank(image, cv2.flip(_mel_image(clip, 1), 0), self.zoom)
        return ((image.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)

    def _pad(self, clip: np.ndarray) -> np.ndarray:
        return np.tile(clip, -(-self.n_samples // len(clip)))[: self.n_samples]

    def _augment(self, clip: np.ndarray) -> np.ndarray:
        kind = self.rng.integers(5)
        if kind == 0:
            return clip + self.rng.normal(0, clip.std() / 10, len(clip)).astype(np.float32)
        if kind == 1:
            return librosa.effects.time_stretch(clip, rate=self.rng.uniform(0.8, 1.25))
        if kind == 2:
            return clip * self.rng.uniform(0.5, 2)
        if kind == 3:
            return _warp(clip, self.rng.uniform(0.9, 1.1))
        return librosa.effects.pitch_shift(clip, sr=RATE, n_steps=self.rng.uniform(-1, 3))


def _warp(clip: np.ndarray, factor: float) -> np.ndarray:
    """Vocal tract length perturbation: frequencies scaled by `factor`, linear to the ends of the axis."""
    spectrum = librosa.stft(clip)
    bins = np.arange(len(spectrum))
    source = np.interp(bins, [0, 0.8 * len(bins), len(bins)], [0, 0.8 * len(bins) / factor, len(bins)])
    low = np.minimum(source.astype(int), len(bins) - 2)
    share = (source - low)[:, None]
    return librosa.istft((1 - share) * spectrum[low] + share * spectrum[low + 1], length=len(clip))


def _mel_image(clip: np.ndarray, zoom: int) -> np.ndarray:
    """uint8 (64 * zoom, frames * zoom, 3), lowest frequency on top."""
    mel = librosa.feature.melspectrogram(y=clip, sr=RATE, n_fft=256, hop_length=128, n_mels=64, fmin=50, fmax=2000)
    db = librosa.power_to_db(mel, ref=np.max)
    grey = (db - db.min()) / max(db.max() - db.min(), 1e-6) * 255
    image = (MAGMA(grey.astype(np.uint8))[..., :3] * 255).astype(np.uint8)
    return cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR) if zoom > 1 else image


def _clip_blank(image: np.ndarray, small: np.ndarray, zoom: int) -> np.ndarray:
    """Cut the blank rows on top, which are looked for in the image before its resize, and stretch the rest."""
    blank = (cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) < 10).mean(axis=1) >= 0.8
    row = 0 if blank.all() else int(blank.argmin())
    return cv2.resize(image[zoom * row :], image.shape[1::-1], interpolation=cv2.INTER_LINEAR) if row else image
