"""The parts of LungLDM that come before diffusion, as runs: the classifier of the clips, and the VAE of their mels."""

import math
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import nn

from lungnb.data.prompts import DECADES, SEXES, SOUNDS
from lungnb.papers.lungldm.classifier import MelClassifier
from lungnb.papers.lungldm.losses import Penalty, Perceptual, ReconstructionLoss
from lungnb.papers.lungldm.mel import LungMel
from lungnb.papers.lungldm.mels import LungRun, Mels, fitted_mel, mels_of
from lungnb.papers.lungldm.presets import PRESETS
from lungnb.papers.lungldm.vae import LungVAE
from lungnb.training import Fitted, State, fit, make_accelerator

#: Larger ones are slower on a CPU, whose caches they do not fit.
EVAL_BATCH = 16
#: What a classifier can be asked, and its answers: a field of the prompts each.
CLASSES = {"sound": tuple(SOUNDS), "sex": SEXES, "age_decade": DECADES}
#: Validation clips on which a loss is followed: drawn once, so that the rows of a history can be compared.
N_FOLLOWED = 128


class Judge(nn.Module):
    """Log-mel (B, 1, frames, 64) -> logits (B, classes): a MelClassifier behind the statistics of its training mels."""

    def __init__(self, mel: LungMel, classifier: MelClassifier):
        super().__init__()
        self.mel, self.classifier = mel, classifier

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.mel.standardise(log_mel.float()))

    def embed(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Embedding (B, dims), for the distances of `lungnb.metrics.generation`."""
        return self.classifier.embed(self.mel.standardise(log_mel.float()))


class BehindMel(LungRun):
    """A run whose network takes raw log-mels, and holds the statistics of its training mels."""

    @abstractmethod
    def network(self, mel: LungMel) -> nn.Module:
        """The untrained network."""

    def trained(self) -> nn.Module:
        """The selected network of the finished run, in evaluation mode."""
        network = self.network(LungMel(**PRESETS[self.size]["mel"]))
        network.load_state_dict(self.state)
        return network.eval()


class ClassifierRun(BehindMel):
    """The project's own classifier of clips: perceptual backbone, embedding and judge of prompt adherence.

    Types are drawn equally often in training, and the epoch is selected by the mean recall of the validation patients.
    """

    #: What it tells apart; clips of which it is not known are left out.
    target: Literal["sound", "sex", "age_decade"] = "sound"
    epochs: int = 30
    batch_size: int = 32
    lr: float = 1e-3

    def network(self, mel: LungMel) -> Judge:
        """The untrained network."""
        return Judge(mel, MelClassifier(len(CLASSES[self.target])))

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        accelerator = make_accelerator(self.device, self.precision)
        given = mels_of(self, accelerator.device)
        answer = given.table[self.target].map({name: k for k, name in enumerate(CLASSES[self.target])})
        label = torch.tensor(answer.fillna(-1).to_numpy(int), device=accelerator.device)
        train, held = (rows[label[rows] >= 0] for rows in map(given.rows, ("train", "validation")))
        torch.manual_seed(self.seed)
        network = self.network(fitted_mel(self.size, given)).to(accelerator.device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            rows = train[items]
            return nn.functional.cross_entropy(net(given.log_mel[rows]), label[rows])

        def evaluate(net: nn.Module) -> dict[str, float]:
            logits = in_batches(net, given.log_mel, held)
            truth = label[held].cpu()
            return {
                "val_loss": nn.functional.cross_entropy(logits, truth).item(),
                "val_recall": mean_recall(truth.numpy(), logits.argmax(1).numpy()),
            }

        fitted = fit(
            network,
            loss_of,
            len(train),
            torch.optim.AdamW(network.parameters(), self.lr, fused=True),
            evaluate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            select={"validation": "val_recall"},
            weights=1 / torch.bincount(label[train])[label[train]],
            rate=lambda epoch: (1 + math.cos(math.pi * epoch / self.epochs)) / 2,
            checkpoint=checkpoint,
            checkpoint_every_s=120,
            task=f"classifier of {self.target}",
        )
        network.load_state_dict(fitted.states["validation"])
        network.eval()
        known = torch.nonzero(label >= 0)[:, 0]
        guess = in_batches(network, given.log_mel, known).argmax(1).numpy()
        names = np.array(CLASSES[self.target], dtype=object)
        predictions = about(given, known).assign(label=names[label[known].cpu().numpy()], predicted=names[guess])
        facts = {
            "notes": given.notes,
            "epoch": fitted.epochs["validation"],
            "n_clips": given.n_clips,
            "recall": {
                role: mean_recall(rows["label"], rows["predicted"]) for role, rows in predictions.groupby("role")
            },
        }
        return fitted.history, predictions, fitted.states["validation"], facts


def mean_recall(label: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over the classes that occur of the share that is recognised."""
    label, predicted = np.asarray(label), np.asarray(predicted)
    return float(pd.Series(label == predicted).groupby(label).mean().mean())


class Autoencoder(nn.Module):
    """Log-mel (B, 1, frames, 64) <-> latents (B, 8, frames / 4, 16): a LungVAE behind the statistics of its training mels."""

    def __init__(self, mel: LungMel, vae: LungVAE):
        super().__init__()
        self.mel, self.vae = mel, vae

    def forward(self, log_mel: torch.Tensor, generator: torch.Generator | None = None) -> tuple:
        """Standardised mels, their reconstructions from a draw of the posterior (its mode without generator), the posterior."""
        x = self.mel.standardise(log_mel.float())
        # In float32, for the variance and the KL distance hold exponentials.
        posterior = DiagonalGaussianDistribution(self.vae.encode(x).latent_dist.parameters.float())
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return x, self.vae.decode(latents).sample, posterior

    def encode(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Latents: the mode of the posterior, which is the same every time."""
        return self.vae.encode(self.mel.standardise(log_mel.float())).latent_dist.mode()

    def reconstruct(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Log-mels through the VAE and back: the best that diffusion in its latents can do."""
        return self.mel.unstandardise(self(log_mel)[1])


class AutoencoderRun(BehindMel):
    """The VAE. Defaults are those of docs/papers/lungldm.md, section 3.2; weights of the loss are those of
    ReconstructionLoss."""

    penalty: Penalty = "element"
    se: bool = True
    #: The finished classifier whose features LPIPS compares, or none: its term is then left out.
    perceptual: ClassifierRun | None = None
    steps: int = 250_000
    batch_size: int = 8
    lr: float = 2e-4

    def network(self, mel: LungMel) -> Autoencoder:
        """The untrained network."""
        return Autoencoder(mel, LungVAE(**PRESETS[self.size]["vae"], se=self.se))

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        accelerator = make_accelerator(self.device, self.precision)
        given = mels_of(self, accelerator.device)
        train, held = given.rows("train"), followed(given)
        torch.manual_seed(self.seed)
        network = compiled_on_gpu(self.network(fitted_mel(self.size, given)).to(accelerator.device))
        perceptual = None
        if self.perceptual is not None:
            self.refuse_other(self.perceptual)
            perceptual = Perceptual(self.perceptual.trained().classifier)
        criterion = ReconstructionLoss(self.penalty, perceptual).to(accelerator.device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return criterion(*net(given.log_mel[drawn(train, items, generator)], generator))["loss"]

        def evaluate(net: nn.Module) -> dict[str, float]:
            parts = held.split(EVAL_BATCH)
            terms = pd.DataFrame([{k: float(v) for k, v in criterion(*net(given.log_mel[p])).items()} for p in parts])
            return {
                f"val_{k}": float(v) for k, v in terms.mul([len(p) for p in parts], axis=0).sum().div(len(held)).items()
            }

        fitted = fit_steps(
            network,
            loss_of,
            torch.optim.AdamW(network.parameters(), self.lr, fused=True),
            evaluate,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            select={"validation": "-val_loss"},
            max_grad_norm=1.0,
            checkpoint=checkpoint,
            task=f"VAE, penalty {self.penalty}{', SE' * self.se}",
        )
        network.load_state_dict(fitted.states["validation"])
        network.eval()
        others = torch.cat([given.rows("validation"), given.rows("test")])
        l1 = in_batches(lambda x: deviation(*network(x)[:2]), given.log_mel, others)
        predictions = about(given, others).assign(l1=l1.numpy())
        facts = {
            "notes": given.notes,
            "epoch": fitted.epochs["validation"],
            "n_clips": given.n_clips,
            "n_parameters": sum(p.numel() for p in network.vae.parameters()),
            "perceptual": "none" if perceptual is None else perceptual.backbone_name,
            "l1": predictions.groupby("role")["l1"].mean().to_dict(),
        }
        return fitted.history, predictions, fitted.states["validation"], facts


def deviation(mel: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Mean |x - x_hat| of each standardised mel (B,)."""
    return (mel - reconstruction).abs().flatten(1).mean(dim=1)


def followed(given: Mels) -> torch.Tensor:
    """N_FOLLOWED of the validation clips, or all."""
    rows = given.rows("validation").cpu()
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:N_FOLLOWED]].to(
        given.log_mel.device
    )


def drawn(
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


def fit_steps(network, loss_of, optimizer, evaluate, *, steps: int, batch_size: int, accelerator, **options) -> Fitted:
    """`fit` for exactly so many steps, in as many rows of history as divide them: ten, or one for every thousand steps."""
    n_rows = next(n for n in range(max(10, steps // 1000), 0, -1) if steps % n == 0)
    return fit(
        network,
        loss_of,
        steps // n_rows * batch_size * accelerator.num_processes,
        optimizer,
        evaluate,
        epochs=n_rows,
        batch_size=batch_size,
        accelerator=accelerator,
        checkpoint_every_s=300,
        **options,
    )


@torch.no_grad()
def in_batches(
    function: Callable[[torch.Tensor], torch.Tensor], log_mel: torch.Tensor, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """`function` of the log-mels (`rows` of them), batch by batch, together on the CPU; such as the embed of a Judge."""
    rows = torch.arange(len(log_mel), device=log_mel.device) if rows is None else rows
    return torch.cat([function(log_mel[part]).float().cpu() for part in rows.split(EVAL_BATCH)])


def about(given: Mels, rows: torch.Tensor) -> pd.DataFrame:
    """Columns clip, patient, sound and role of the clips `rows`."""
    rows = rows.cpu().numpy()
    return given.table.loc[rows, ["clip", "patient", "sound"]].assign(role=given.role[rows]).reset_index(drop=True)
