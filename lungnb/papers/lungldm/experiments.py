"""The parts of LungLDM that come before diffusion, as experiments: the classifier of the clips, the VAE, and the vocoder."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import SpeechT5HifiGan

from lungnb.core import UserError, cached_arrays
from lungnb.papers.lungldm.classifier import (
    CLASSES,
    EVAL_BATCH,
    Judge,
    MelClassifier,
    fit_classifier,
    in_batches,
    mean_recall,
    predict_names,
)
from lungnb.papers.lungldm.frontend import LungMel, Mels, hifigan, load_mels
from lungnb.papers.lungldm.losses import Penalty, Perceptual, ReconstructionLoss, vocoder_loss
from lungnb.papers.lungldm.networks import PRESETS, Autoencoder, LungVAE
from lungnb.training import Fitted, State, fit, make_accelerator
from lungnb.training.experiment import Experiment

#: What `Experiment.compute` gives: history, predictions, weights and facts.
Computed = tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]


class LungRun(Experiment):
    """What the experiments of LungLDM share: simulated or real clips, and a size of `PRESETS`."""

    size: Literal["smoke", "laptop", "chest", "chest, small", "paper"] = "paper"
    n_patients: int = 60

    @property
    def _small(self) -> bool:
        return self.size == "smoke"

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return PRESETS[self.size]["seconds"]

    @property
    def front_end(self) -> dict[str, Any]:
        """Options of LungMel."""
        return PRESETS[self.size].get("mel", {})

    def mels(self, device: torch.device | str = "cpu") -> Mels:
        """The log-mels of all its clips. Raises UserError if they are not those that it was made for."""
        return load_mels(
            self.load("prompted"), self.seconds, device, self.front_end, PRESETS[self.size].get("context", False)
        )

    def refuse_other(self, *parts: "LungRun | None") -> None:
        """Raise UserError if one of `parts` is of other clips or another size."""
        for part in parts:
            if part is not None and (part.corpus, part.size) != (self.corpus, self.size):
                raise UserError(
                    f"The {type(self).__name__} of size {self.size} on the clips {self.corpus} cannot stand on the "
                    f"{type(part).__name__} of size {part.size} on the clips {part.corpus}; give both the same."
                )


class NetworkRun(LungRun):
    """A run whose result is one network."""

    @abstractmethod
    def network(self, mel: LungMel) -> nn.Module:
        """The untrained network, behind a front end where it has one."""

    def trained(self, device: torch.device | str | None = None) -> nn.Module:
        """The selected network of the finished run in evaluation mode, on the device of the run unless one is given."""
        network = self.network(LungMel(**self.front_end))
        network.load_state_dict(self.state)
        return network.eval().to(device or make_accelerator(self.device).device)


class StepsRun(LungRun):
    """What is trained for a number of steps, not of passes over the clips."""

    steps: int = 250_000
    batch_size: int = 8
    lr: float = 2e-4

    def fit_steps(self, network: nn.Module, loss_of, evaluate, *, accelerator, optimizer=None, **options) -> Fitted:
        """`fit` for exactly so many steps, in ten rows of history or one for every thousand steps."""
        n_rows = min(max(10, self.steps // 1000), self.steps)
        in_row = [len(part) for part in np.array_split(range(self.steps), n_rows)]
        return fit(
            network,
            loss_of,
            [n * self.batch_size * accelerator.num_processes for n in in_row],
            optimizer or torch.optim.AdamW(network.parameters(), self.lr, fused=True),
            evaluate,
            epochs=n_rows,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            checkpoint_every_s=300,
            **{"max_grad_norm": 1.0} | options,
        )


class ClassifierRun(NetworkRun):
    """The classifier of sound types, of sex or of age. Types are drawn equally often in training, and the epoch is selected by
    the mean recall of the validation patients."""

    #: What it tells apart; clips of which it is not known are left out.
    target: Literal["sound", "sex", "age_decade"] = "sound"
    epochs: int = 30
    batch_size: int = 32
    lr: float = 1e-3

    def network(self, mel: LungMel) -> Judge:
        return Judge(mel, MelClassifier(len(CLASSES[self.target]), n_mels=mel.config.n_mels))

    def compute(self, checkpoint: Path) -> Computed:
        accelerator = make_accelerator(self.device, self.precision)
        mels = self.mels(accelerator.device)
        index = mels.events[self.target].map({name: k for k, name in enumerate(CLASSES[self.target])})
        label = torch.tensor(index.fillna(-1).to_numpy(int), device=accelerator.device)
        train, validation = (rows[label[rows] >= 0] for rows in map(mels.rows, ("train", "validation")))
        torch.manual_seed(self.seed)
        network = self.network(mels.fit_mel()).to(accelerator.device)
        fitted = fit_classifier(
            network,
            (mels.log_mel, train, label[train]),
            (mels.log_mel, validation, label[validation]),
            n_items=len(train),
            **self.model_dump(include={"lr", "epochs", "batch_size", "seed"}),
            accelerator=accelerator,
            checkpoint=checkpoint,
            task=f"classifier of {self.target}",
        )
        known = torch.nonzero(label >= 0)[:, 0]
        stated = mels.events[self.target].iloc[known.cpu().numpy()].to_numpy(object)
        predicted = predict_names(network, mels.log_mel, self.target, known)
        predictions = mels.metadata(known).assign(label=stated, predicted=predicted)
        recall = {part: mean_recall(rows["label"], rows["predicted"]) for part, rows in predictions.groupby("part")}
        facts = mels.facts | {"epoch": fitted.epochs["validation"], "recall": recall}
        return fitted.history, predictions, fitted.states["validation"], facts

    def predict(self, log_mel: torch.Tensor) -> np.ndarray:
        """What the finished classifier takes each clip for (N,)."""
        return predict_names(self.trained(), log_mel, self.target)


class AutoencoderRun(NetworkRun, StepsRun):
    """The VAE. Defaults and the weights of the loss: docs/papers/lungldm.md, section 3.2."""

    penalty: Penalty = "element"
    se: bool = True
    #: Deviations in nats of the log-mel, in which AudioLDM's weight of the KL term is meant, and not in its standard deviations.
    nats: bool = False
    #: Weights of the perceptual distance, the penalty and the KL term.
    alpha: float = 1.0
    beta: float = 0.1
    kl_weight: float = 0.015
    #: The finished classifier whose features LPIPS compares, or none: its term is then left out.
    perceptual: ClassifierRun | None = None

    def network(self, mel: LungMel) -> Autoencoder:
        return Autoencoder(mel, LungVAE(**PRESETS[self.size]["vae"], se=self.se))

    def latents(self, mels: Mels, rows: torch.Tensor) -> torch.Tensor:
        """Latents (N, 8, frames / 4, 16) of the clips `rows` (N,), float16 on the CPU: encoded once, then cached."""

        def encode() -> dict[str, np.ndarray]:
            network = self.trained(mels.log_mel.device)  # which may have to be trained first
            with torch.inference_mode():
                made = in_batches(network.encode, mels.log_mel, rows)
            return {"latents": made.half().numpy()}

        arrays = cached_arrays("latents/lungldm", (self.uid, rows.tolist()), [__name__], encode)
        return torch.from_numpy(arrays["latents"])

    def compute(self, checkpoint: Path) -> Computed:
        self.refuse_other(self.perceptual)
        accelerator = make_accelerator(self.device, self.precision)
        device = accelerator.device
        mels = self.mels(device)
        train, validation = mels.rows("train"), mels.validation_subset()
        torch.manual_seed(self.seed)
        network = compiled_on_gpu(self.network(mels.fit_mel()).to(device))
        perceptual = Perceptual(self.perceptual.trained(device).classifier) if self.perceptual else None
        unit = 2 * float(network.mel.std) if self.nats else 1.0
        weights = self.model_dump(include={"alpha", "beta", "kl_weight"})
        criterion = ReconstructionLoss(self.penalty, perceptual, **weights, unit=unit).to(device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return criterion(*net(mels.log_mel[sample_rows(train, items, generator)], generator))["loss"]

        def evaluate(net: nn.Module) -> dict[str, float]:
            parts = validation.split(EVAL_BATCH)
            terms = pd.DataFrame([{k: float(v) for k, v in criterion(*net(mels.log_mel[p])).items()} for p in parts])
            means = terms.mul([len(p) for p in parts], axis=0).sum() / len(validation)
            return means.add_prefix("val_").to_dict()

        fitted = self.fit_steps(
            network,
            loss_of,
            evaluate,
            accelerator=accelerator,
            select={"validation": "-val_loss"},
            checkpoint=checkpoint,
            task=f"VAE, penalty {self.penalty}{', SE' * self.se}",
        )
        network.load_state_dict(fitted.states["validation"])
        network.eval()
        others = torch.cat([mels.rows("validation"), mels.rows("test")])
        l1 = in_batches(lambda x: network.deviation(x).flatten(1).mean(dim=1), mels.log_mel, others)
        predictions = mels.metadata(others).assign(l1=l1.numpy())
        facts = mels.facts | {
            "epoch": fitted.epochs["validation"],
            "n_parameters": sum(p.numel() for p in network.vae.parameters()),
            "perceptual": "none" if perceptual is None else perceptual.backbone_name,
            "l1": predictions.groupby("part")["l1"].mean().to_dict(),
        }
        return fitted.history, predictions, fitted.states["validation"], facts


class VocoderRun(NetworkRun, StepsRun):
    """A HiFi-GAN of AudioLDM's layout, by HiFi-GAN's mel loss alone: without its discriminators the sound is duller.

    It is trained in float32 whatever the precision: the loss takes a Fourier transform, which knows no bfloat16.
    """

    def network(self, mel: LungMel | None = None) -> SpeechT5HifiGan:
        return hifigan(**PRESETS[self.size]["vocoder"])

    def compute(self, checkpoint: Path) -> Computed:
        accelerator = make_accelerator(self.device)
        mels = self.mels(accelerator.device)
        train, validation = mels.rows("train"), mels.validation_subset()
        mel, waveforms = LungMel(**self.front_end).to(accelerator.device), mels.waveforms(validation)
        torch.manual_seed(self.seed)
        network = self.network().to(accelerator.device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return vocoder_loss(net, mel, mels.waveforms(sample_rows(train, items, generator))).mean()

        def deviation(net: nn.Module) -> np.ndarray:
            """What the mel of each validation clip is missed by on average."""
            return in_batches(lambda waves: vocoder_loss(net, mel, waves), waveforms).numpy()

        fitted = self.fit_steps(
            network,
            loss_of,
            lambda net: {"val_loss": float(deviation(net).mean())},
            accelerator=accelerator,
            select={"validation": "-val_loss"},
            checkpoint=checkpoint,
            task="vocoder",
        )
        network.load_state_dict(fitted.states["validation"])
        predictions = mels.metadata(validation).assign(l1=deviation(network.eval()))
        facts = mels.facts | {
            "epoch": fitted.epochs["validation"],
            "n_parameters": sum(p.numel() for p in network.parameters()),
            "l1": float(predictions["l1"].mean()),
        }
        return fitted.history, predictions, fitted.states["validation"], facts


def sample_rows(
    rows: torch.Tensor, items: torch.Tensor, generator: torch.Generator, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """As many of `rows` (N,) as there are `items`, with replacement, in proportion to `weights` (N,) if there are any:
    trainings that count steps have no passes over the data."""
    if weights is not None:
        return rows[torch.multinomial(weights, len(items), replacement=True, generator=generator)]
    return rows[torch.randint(len(rows), items.shape, generator=generator, device=rows.device)]


def compiled_on_gpu(network: nn.Module) -> nn.Module:
    """`network`, which torch.compile makes faster where there is a GPU; its weights keep their names."""
    if next(network.parameters()).is_cuda:
        network.compile()
    return network
