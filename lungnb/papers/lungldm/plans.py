"""From the sizes of a profile to the experiments of notebooks 04 (`Plan`) and 91 (`AugmentationPlan`)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pydantic

from lungnb import configs
from lungnb.data import load_corpus
from lungnb.data.corpus import Corpus
from lungnb.papers.lungldm.augmentation import AugmentationRun
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun, VocoderRun
from lungnb.papers.lungldm.losses import Penalty
from lungnb.papers.lungldm.networks import GateName
from lungnb.papers.lungldm.samples import SynthesisRun

#: What is made in addition to the recorded clips, and in what shares of their number.
SHARES = {"generated": (0.25, 0.5, 1.0, 2.0), "changed": (1.0, 2.0), "joined": (1.0, 2.0)}
RECORDED, ALL = "recorded", "recorded, all that the generator heard"
#: A mixture's name and the fields of its run.
MIXTURES: dict[str, dict[str, Any]] = {
    RECORDED: {},
    **{f"+ {share:.0%} {added}": {"added": added, "share": share} for added in SHARES for share in SHARES[added]},
    "generated alone, 100%": {"recorded": "none", "share": 1.0},
    "generated alone, 200%": {"recorded": "none", "share": 2.0},
    ALL: {"recorded": "all"},
}
#: The largest share: so many rounds of generated clips.
N_ROUNDS = 2


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


class AugmentationPlan(pydantic.BaseModel):
    """The sizes of a profile (configs/augmentation.yaml, an unknown field is an error), on the LungLDM of `plan`.

    clips: fields of SynthesisRun. classifier: fields of AugmentationRun. seeds: one training of each mixture for each.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    plan: Plan
    clips: dict[str, Any]
    classifier: dict[str, Any]
    seeds: list[int]

    @property
    def system(self) -> System:
        """The parts of LungLDM: those that notebook 04 trains."""
        return self.plan.system(self.plan.systems["LungLDM"], self.plan.seeds[0])

    @property
    def common(self) -> dict[str, Any]:
        """The fields that all its experiments share; networks as small as these gain nothing by bfloat16."""
        return {name: value for name, value in self.plan.common.items() if name != "precision"}

    @property
    def rounds(self) -> list[SynthesisRun]:
        """All rounds of generated clips, a 100 % each."""
        system = self.system
        fields = self.common | self.clips | {"diffusion": system.diffusion, "judge": system.judge}
        return [SynthesisRun(**fields, seed=k) for k in range(N_ROUNDS)]

    def group(self, mixture: str) -> list[AugmentationRun]:
        """One run a seed."""
        fields = self.common | {"synthesis": self.rounds[0]} | self.classifier | MIXTURES[mixture]
        return [AugmentationRun(**fields, seed=seed) for seed in self.seeds]


def load_augmentation(
    profile: str, data: str = "simulated", *, seeds: Sequence[int] | int = (), epochs: int = 0, device: str = "auto"
) -> tuple[AugmentationPlan, Corpus]:
    """The plan of a profile on simulated clips, or on those in the folder `data`, and the clips; seeds, epochs: empty or 0 for
    the profile's own."""
    sizes, plan = configs.load("augmentation", profile), configs.load("lungldm", profile)
    clips = load_corpus("prompted", data, plan["run"].get("n_patients", 60))
    sizes["classifier"] |= {"epochs": epochs} if epochs else {}
    sizes["seeds"] = [seeds] if isinstance(seeds, int) else list(seeds) or sizes["seeds"]
    return AugmentationPlan(plan=Plan(**plan, corpus=clips.fingerprint, data=data, device=device), **sizes), clips
