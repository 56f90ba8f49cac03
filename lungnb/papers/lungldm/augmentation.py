"""The experiment of notebook 91: LungLDM as notebook 04 trains it, and every mixture a classifier is trained on.

A run that notebook 04 has trained is found in the cache only if both ask for it with the same words; a test holds the words
here against those of its cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lungnb.configs import AUGMENTATION, LUNGLDM, LUNGLDM_SYSTEMS
from lungnb.data import load_corpus
from lungnb.data.corpus import Corpus
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun
from lungnb.papers.lungldm.synthesis import AugmentationRun, SynthesisRun

#: What is made in addition to the recorded clips, and in what shares of their number.
SHARES = {"generated": (0.25, 0.5, 1.0, 2.0), "changed": (1.0, 2.0), "joined": (1.0, 2.0)}
RECORDED, ALL = "recorded", "recorded, all that the generator heard"
#: A mixture's name and the fields of its run.
MIXTURES: dict[str, dict[str, Any]] = {
    RECORDED: {},
    **{
        f"+ {share:.0%} {added}": {"added": added, "share": share}
        for added, shares in SHARES.items()
        for share in shares
    },
    "generated alone, 100%": {"recorded": "none", "share": 1.0},
    "generated alone, 200%": {"recorded": "none", "share": 2.0},
    ALL: {"recorded": "all"},
}
#: The largest share: so many rounds of generated clips.
N_ROUNDS = 2


@dataclass(frozen=True)
class Experiment:
    """size: of `AUGMENTATION`. judge, autoencoder, diffusion: the parts of LungLDM, in the order in which they are trained."""

    size: dict[str, Any]
    clips: Corpus
    seeds: list[int]
    epochs: int
    judge: ClassifierRun
    autoencoder: AutoencoderRun
    diffusion: DiffusionRun

    def round(self, k: int) -> SynthesisRun:
        """The k-th 100 % of generated clips."""
        run = self.judge
        place = {"corpus": run.corpus, "data": run.data, "device": run.device}
        parts = {"diffusion": self.diffusion, "judge": self.judge}
        return SynthesisRun(**place, n_patients=run.n_patients, size=run.size, **parts, **self.size["clips"], seed=k)

    @property
    def rounds(self) -> list[SynthesisRun]:
        return [self.round(k) for k in range(N_ROUNDS)]

    def group(self, mixture: str) -> list[AugmentationRun]:
        """One run a seed."""
        run = self.round(0)
        place = {"corpus": run.corpus, "data": run.data, "device": run.device, "n_patients": run.n_patients}
        fields = self.size["classifier"] | ({"epochs": self.epochs} if self.epochs else {}) | MIXTURES[mixture]
        return [AugmentationRun(**place, size=run.size, synthesis=run, **fields, seed=seed) for seed in self.seeds]


def experiment_of(
    profile: str, data: str = "simulated", *, seeds: Sequence[int] | int = (), epochs: int = 0, device: str = "auto"
) -> Experiment:
    """The experiment of a profile on simulated clips, or on those in the folder `data`; seeds, epochs: empty or 0 for its own."""
    size, system = AUGMENTATION[profile], LUNGLDM[profile]
    clips = load_corpus("prompted", data, system["run"].get("n_patients", 60))
    common = {"corpus": clips.fingerprint, "data": data, "device": device} | system["run"]
    penalty, se, gate = LUNGLDM_SYSTEMS["LungLDM"]
    seed = system["seeds"][0]
    judge = ClassifierRun(**common, target="sound", **system["classifier"])
    autoencoder = AutoencoderRun(**common, **system["autoencoder"], penalty=penalty, se=se, perceptual=judge, seed=seed)
    diffusion = DiffusionRun(**common, **system["diffusion"], autoencoder=autoencoder, gate=gate, seed=seed)
    chosen = [seeds] if isinstance(seeds, int) else list(seeds) or size["seeds"]
    return Experiment(size, clips, chosen, epochs, judge, autoencoder, diffusion)
