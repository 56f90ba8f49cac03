"""Packaged classifiers: recorded networks for sounds of one's own.

    import lungnb
    network = lungnb.load("sprsound-cnn")
    network.predict([sound], sample_rate=44100)

A packaged classifier is the mean of the recorded trainings of one configuration. It says of a sound:

probability   the mean of the trainings, its logits divided by a temperature (Guo et al. 2017) that was fitted to children
              who had been left out of the training
low, high     a 95 % t interval on the logit scale over the trainings: where the mean of ever more trainings on the same
              children would lie. It knows nothing of other children or other stethoscopes
set           the classes that remain possible. Of the events of a child never seen, 90 % of the normal ones and 90 % of the
              adventitious ones have theirs in it, if the child comes from where the training children came from: conformal
              prediction with one vote a child (Dunn et al. 2022, Distribution-Free Prediction Sets for Two-Layer Hierarchical
              Models), for normal and for adventitious events apart, not for each of the six adventitious classes. The folds
              are of shorter trainings, three and not five; of the children of the inter test it was 87 % and 95 %
unusual       the share (%) of training events, each from a child left out, that lie nearer to the training data: the
              Mahalanobis distance of the mean and the spread over time of the level in each mel band below 2 kHz, above which
              the file shows more than the chest. From UNLIKE on a sound is not of the kind that the network knows, and nothing
              else that is said of it holds

`calibrate` makes anew what is kept beside the weights: temperature, least probabilities, distances.
"""

from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import soxr
import torch
from safetensors.torch import load_file, save
from scipy.special import expit, logit
from scipy.stats import t as student
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold
from torch import nn

from lungnb.book.recorded import by_seed, configurations, ensemble, experiment, predictions, weights_file
from lungnb.classification.networks import CLASSIFIERS, Sizes
from lungnb.core import UserError, atomic_file
from lungnb.data.tasks import task_of
from lungnb.metrics.calibration import least_probabilities, temperature, tempered
from lungnb.papers.convlstm import INPUTS

#: Name -> the recorded experiment and row whose weights are taken, and those that hold out the children it is trained on.
PACKAGED = {
    "sprsound-cnn": (("convlstm/sprsound-event", "best CNN"), ("convlstm/sprsound-event-folds", "stretched")),
}
RATE = 8000
#: `unusual` from which a sound is called unlike the training data.
UNLIKE = 99.0
#: The mel bands whose middle lies below 2 kHz, as lung sounds do. Near 4 kHz a recording that came from 44.1 kHz shows where its
#: resampler ends, and would be unusual for that.
N_BANDS = 46
#: What `explain` takes away in turn: bands, and stretches of the event.
CELLS = (8, 10)


class Pretrained(nn.Module):
    """Networks of several trainings behind one front end, with their calibration; see the head of this module.

    classes: the first is normal. shape: a row of the Conv-LSTM's INPUTS. calibration: tensors made by `calibrate`.
    """

    def __init__(self, networks: Sequence[nn.Module], classes: Sequence[str], shape: str, calibration: dict):
        super().__init__()
        self.networks, self.classes = nn.ModuleList(networks), tuple(classes)
        self.front, self.n_frames = INPUTS[shape].front_end(RATE), INPUTS[shape].frames
        self.longest = round(INPUTS[shape].seconds * RATE)
        for name, tensor in calibration.items():
            self.register_buffer(name, tensor)

    def power(self, sound: torch.Tensor) -> torch.Tensor:
        """Sound (1, T) -> power of its mel and linear bands in equal parts of it (1, frames, 2 n_rows), as StretchedMaps has
        it, but by a product that can be exported for every T."""
        power = self.front.power(sound)[0]
        n, part, frame = power.shape[0], torch.arange(self.n_frames)[:, None], torch.arange(power.shape[0])
        inside = ((frame >= part * n // self.n_frames) & (frame < -(-(part + 1) * n // self.n_frames))).float()
        return ((inside / inside.sum(1, keepdim=True)) @ power)[None]

    def read(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Maps (B, 3, n_rows, frames) -> probabilities (B, C), those of each training (K, B, C), both tempered, and
        `unusual` (B,)."""
        nobody = maps.new_zeros(len(maps), 3, dtype=torch.long)  # the network does not look at metadata
        each = torch.stack([network(maps, nobody).softmax(1) for network in self.networks])
        mean, each = (((p.clamp(min=1e-7).log() / self.temperature).softmax(-1)) for p in (each.mean(0), each))
        away = self.summary(maps) - self.mean
        farther = ((away @ self.precision) * away).sum(1, keepdim=True).sqrt() > self.distances
        return mean, each, 100 * farther.float().mean(1)

    @staticmethod
    def summary(maps: torch.Tensor) -> torch.Tensor:
        """Mean and sd over time of the lower bands of the log-mel map (B, 2 N_BANDS): what `unusual` looks at."""
        mel = maps[:, 0, :N_BANDS].float()
        return torch.cat([mel.mean(2), mel.std(2)], dim=1)

    def forward(self, sound: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`read` of one sound (1, T) at 8 kHz."""
        return self.read(self.front.maps(self.power(sound)))

    @torch.no_grad()
    def predict(self, sounds: Sequence[np.ndarray], sample_rate: int = RATE) -> pd.DataFrame:
        """One row a sound: predicted, probability, low, high, set, unusual, and of each class its probability, "CLASS low" and
        "CLASS high".

        sounds: each one event, as a breath (T,), full scale 1, of which the middle 8 s are looked at if it is longer. Raises
        UserError for a sound that is empty or holds NaN.
        """
        maps = []
        for n, sound in enumerate(sounds):
            sound = np.asarray(sound, dtype=np.float32)
            if sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all():
                raise UserError(f"Sound {n} is no row of numbers ({sound.shape}); give mono samples without NaN.")
            sound = sound if sample_rate == RATE else soxr.resample(sound, sample_rate, RATE, quality="VHQ")
            middle = np.ascontiguousarray(sound[max(0, len(sound) - self.longest) // 2 :][: self.longest])
            maps.append(self.front.maps(self.power(torch.from_numpy(middle)[None])))
        means, trainings, unusual = zip(*map(self.read, torch.cat(maps).split(128)), strict=True)
        p, each = (x.double().clamp(1e-7, 1 - 1e-7).numpy() for x in (torch.cat(means), torch.cat(trainings, dim=1)))
        half = student.isf(0.025, len(each) - 1) * logit(each).std(0, ddof=1) / np.sqrt(len(each))
        low, high, best = expit(logit(p) - half), expit(logit(p) + half), (range(len(p)), p.argmax(1))
        possible = p >= self.least.numpy()
        found = {"predicted": np.array(self.classes, dtype=object)[best[1]], "probability": p[best], "low": low[best]}
        found |= {"high": high[best], "set": [", ".join(np.array(self.classes)[row]) for row in possible]}
        found["unusual"] = torch.cat(unusual).numpy()
        for k, name in enumerate(self.classes):
            found |= {name: p[:, k], f"{name} low": low[:, k], f"{name} high": high[:, k]}
        return pd.DataFrame(found)

    @torch.no_grad()
    def explain(self, sound: np.ndarray, name: str) -> np.ndarray:
        """How much the probability of the class `name` falls when a part of the sound (T,) at 8 kHz is taken away (8, 10):
        bands of 8 rows of the mel spectrogram from below, by stretches of time.

        Occlusion (Zeiler and Fergus 2014), in the power from which the maps are made: the part gets its bands' median over
        the event. Grad-CAM would say less here, for two of the three maps are cepstral, and their rows are no frequencies.
        """
        power = self.power(torch.from_numpy(np.asarray(sound, dtype=np.float32))[None])[0]
        n_rows = power.shape[1] // 2
        mel = librosa.mel_frequencies(n_rows + 2, fmin=0, fmax=RATE / 2)[1:-1]
        linear = np.linspace(0, RATE / 2, n_rows + 2)[1:-1]
        row = np.concatenate([np.arange(n_rows), np.abs(linear[:, None] - mel).argmin(1)])  # of the mel map
        band = torch.from_numpy(row * CELLS[0] // n_rows)
        time = torch.arange(self.n_frames) * CELLS[1] // self.n_frames
        cells = [(band == b) & (time == t)[:, None] for b in range(CELLS[0]) for t in range(CELLS[1])]
        without = torch.stack([torch.where(cell, power.median(0).values, power) for cell in cells])
        p = self.read(self.front.maps(torch.cat([power[None], without])))[0][:, self.classes.index(name)]
        return (p[0] - p[1:]).reshape(CELLS).numpy()

    def to_onnx(self, path: Path | str) -> None:
        """Write `forward` as ONNX, front end and calibration inside: sound (1, T) float32 at 8 kHz, T from 80 to 64,000 ->
        probability (1, C), by_training (K, 1, C), unusual (1,). Raises UserError if onnx or onnxscript is not installed."""
        try:
            import onnxscript  # noqa: F401  (torch.onnx needs it and would say so in ten lines)
        except ImportError as error:
            raise UserError(f"{error.name} is missing; install it with `pip install lungnb[onnx]`.") from error
        length = {1: torch.export.Dim("samples", min=80, max=self.longest)}
        names = {"input_names": ["sound"], "output_names": ["probability", "by_training", "unusual"]}
        given = (torch.zeros(1, RATE),)
        torch.onnx.export(self, given, dynamo=True, dynamic_shapes=(length,), verbose=False, **names).save(str(path))


def load(name: str = "sprsound-cnn") -> Pretrained:
    """The packaged classifier `name`, in evaluation mode, on the CPU. Raises UserError if there is none, or its files lack."""
    if name not in PACKAGED:
        raise UserError(f"There is no packaged classifier {name!r}; known are {', '.join(PACKAGED)}.")
    of, _ = PACKAGED[name]
    files = [weights_file(*of, seed) for seed in experiment(of[0])["seeds"]]
    for path in (*files, calibration_file(name)):
        if not path.is_file():
            raise UserError(f"{path} is missing; run inside a whole clone of the repository, which holds it.")
    fields = configurations(of[0])[of[1]]
    sizes = {k: fields[k] for k in ("size", "dropout", "normalisation")}
    classes, networks = task_of(fields["task"]).classes, []
    for path in files:
        networks.append(CLASSIFIERS[fields["model"]].build(Sizes(len(classes), n_channels=3, **sizes)))
        networks[-1].load_state_dict(load_file(path))
    return Pretrained(networks, classes, fields["size"], load_file(calibration_file(name))).eval().requires_grad_(False)


def calibration_file(name: str) -> Path:
    """Where the calibration of a packaged classifier is kept: beside its weights."""
    (of, row), _ = PACKAGED[name]
    return weights_file(of, row, 0).with_name(f"{row.replace(' ', '-')}-calibration.safetensors")


def calibrate(name: str, data: str) -> Path:
    """Make the calibration file of a packaged classifier anew: from the recorded predictions of the folds of its training
    children, and from their sounds in the folder `data`; the file. Nobody of the test side is looked at."""
    from lungnb.book.experiments import runs_of

    of, folds = PACKAGED[name]
    left_out = ensemble(by_seed(predictions(folds[0]), folds[1]))
    t = temperature([left_out])
    (run,) = runs_of(of[0], data, (of[1],), (0,)).values()
    dataset = run.dataset()
    train = dataset.samples("train")
    patient = dataset.units["patient"].to_numpy(object)[dataset.unit[train.numpy()]]
    summary = torch.cat([Pretrained.summary(dataset.batch(part)) for part in train.split(512)]).numpy()
    fitted, distances = LedoitWolf().fit(summary), distances_left_out(summary, patient)
    found = {"temperature": [t], "least": least_probabilities(tempered(left_out, t)), "mean": fitted.location_}
    found |= {"precision": fitted.precision_, "distances": np.quantile(distances, np.linspace(0, 1, 1001)[1:])}
    with atomic_file(calibration_file(name)) as path:
        path.write_bytes(save({k: torch.tensor(np.asarray(v), dtype=torch.float32) for k, v in found.items()}))
    return calibration_file(name)


def distances_left_out(x: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Mahalanobis distance (N,) of each row of x (N, D) from the rows of other patients, five folds of them; the covariance is
    shrunk as by Ledoit and Wolf (2004)."""
    distance = np.empty(len(x))
    for others, rows in GroupKFold(5).split(x, groups=patient):
        distance[rows] = LedoitWolf().fit(x[others]).mahalanobis(x[rows]) ** 0.5
    return distance
