"""From the sizes of a profile to the experiments of notebook 04."""

from typing import Any, NamedTuple

import pydantic

from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun, VocoderRun
from lungnb.papers.lungldm.losses import Penalty
from lungnb.papers.lungldm.networks import GateName


class Cell(NamedTuple):
    """One system of the ablation: the penalty of the VAE's loss, whether its encoder has SE, and the gates of the U-Net."""

    penalty: Penalty
    se: bool
    gate: GateName


class System(NamedTuple):
    """The parts of one system, in the order in which they are trained."""

    judge: ClassifierRun
    autoencoder: AutoencoderRun
    diffusion: DiffusionRun


class Plan(pydantic.BaseModel):
    """The sizes of a profile (configs/lungldm.yaml, an unknown field is an error); from them come all experiments.

    corpus, data, device: as in `Experiment`. max_steps: most steps of every training, 0 for the profile's own; the classifiers,
    which count epochs, need n_clips for it. text: the text encoder of DiffusionRun, "" for what belongs to the size.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    corpus: str = ""
    data: str = "simulated"
    device: str = "auto"
    max_steps: int = 0
    n_clips: int = 0
    text: str = ""

    run: dict[str, Any]
    classifier: dict[str, Any]
    judges: dict[str, Any]
    autoencoder: dict[str, Any]
    vocoder: dict[str, Any] | None
    diffusion: dict[str, Any]
    n_per_type: int
    systems: dict[str, Cell]
    cells: list[Cell] = []
    ablation: dict[str, Any]
    seeds: list[int]

    @property
    def common(self) -> dict[str, Any]:
        """The fields that all its experiments share."""
        return {"corpus": self.corpus, "data": self.data, "device": self.device} | self.run

    def limited(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a part that counts steps, with at most `max_steps`."""
        limit = {"steps": min(self.max_steps, fields.get("steps", 250_000))} if self.max_steps else {}
        return self.common | fields | limit

    def judge(self, target: str = "sound") -> ClassifierRun:
        """The classifier of sound types, or of sex or age."""
        fields = self.common | (self.classifier if target == "sound" else self.judges)
        if self.max_steps:
            most = 32 * self.max_steps // max(round(0.6 * self.n_clips), 1)
            fields["epochs"] = max(1, min(fields.get("epochs", 30), most))
        return ClassifierRun(**fields, target=target)

    def system(self, cell: Cell, seed: int = 0) -> System:
        """Judge, VAE and U-Net of one cell."""
        judge = self.judge()
        vae = AutoencoderRun(
            **self.limited(self.autoencoder), penalty=cell.penalty, se=cell.se, perceptual=judge, seed=seed
        )
        fields = self.limited(self.diffusion) | {"text": self.text or None, "gate": cell.gate, "seed": seed}
        return System(judge, vae, DiffusionRun(**fields, autoencoder=vae))

    def vocoder_run(self) -> VocoderRun | None:
        """None where it cannot be trained long enough to beat Griffin and Lim."""
        return None if self.vocoder is None else VocoderRun(**self.limited(self.vocoder))

    def ablated(self) -> "Plan":
        """The plan of the ablation, which has many trainings and sizes of its own."""
        return Plan(**self.model_dump() | self.ablation)
