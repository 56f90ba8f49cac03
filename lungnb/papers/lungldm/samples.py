"""Clips for prompts by a finished LungLDM to train with, as an experiment; a box to type prompts into."""

import warnings
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch

from lungnb.core import UserError
from lungnb.data.prompts import FIELDS, check_prompt, parse, prompts
from lungnb.papers.lungldm.classifier import CLASSES
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import Computed, LungRun
from lungnb.papers.lungldm.frontend import Mels


class SynthesisRun(LungRun):
    """One round of clips: for the whole prompts of training clips, which `draw_clips` draws by the seed.

    The seed is that of the noise, too; that of the training is in `diffusion`. The state holds the log-mels, float16.
    """

    diffusion: DiffusionRun
    n_per_type: int = 8
    #: Type -> number of its clips, where that is another.
    rare: dict[str, int] = {}  # noqa: RUF012 pydantic copies it
    #: Of DPM-Solver++.
    steps: int = 12
    guidance: float = 2.0

    def compute(self, checkpoint: Path) -> Computed:
        self.refuse_other(self.diffusion)
        mels = self.mels()
        refuse_leak(mels, self.diffusion.training_clips(mels))
        rows = draw_clips(mels, "train", self.n_per_type, self.rare, self.seed)
        events = mels.events.iloc[rows.numpy()].reset_index(drop=True)
        texts = prompts(events)
        made = self.diffusion.generate(list(texts), self.steps, self.guidance, self.seed)
        predictions = events[["clip", "patient", *FIELDS]].assign(prompt=texts)
        return pd.DataFrame(columns=["epoch"]), predictions, {"log_mels": made.log_mels.half()}, mels.facts

    @property
    def log_mels(self) -> torch.Tensor:
        """(N, 1, frames, 64)."""
        return self.state["log_mels"]


def draw_clips(
    mels: Mels, part: str, n_per_type: int, rare: dict[str, int] | None = None, seed: int = 0
) -> torch.Tensor:
    """Rows of at most `n_per_type` clips of every type, or as many as `rare` says of it, of the patients of a part.

    Drawn by `seed`, type by type; fewer clips are the first of more.
    """
    rng, rows = np.random.default_rng(seed), np.flatnonzero(mels.part == part)
    drawn = []
    for name in CLASSES["sound"]:
        of_type, n = rng.permutation(rows[mels.sound[rows] == name]), (rare or {}).get(name, n_per_type)
        drawn.append(of_type[:n])
    return torch.from_numpy(np.concatenate(drawn))


def refuse_leak(mels: Mels, rows: torch.Tensor) -> None:
    """Raise UserError if `rows`, which a model was trained on, are of a patient by whom a classifier is selected or tested."""
    if shared := set(mels.patient[rows.cpu().numpy()]) & set(mels.patient[mels.part != "train"]):
        raise UserError(
            f"The diffusion was trained on clips of {len(shared)} patients of the validation or test part, first "
            f"{min(shared)}; split the clips by patient before both."
        )


class PromptBox(widgets.VBox):
    """`show(text, seed)` displays what the model makes of a prompt; each press of the button draws other noise.

    What is wrong with a prompt (empty, too long) is said in one sentence and nothing is generated; what the model has seen
    nothing like (off the grammar) is said and generated all the same.
    """

    def __init__(self, show: Callable[[str, int], None], prompt: str):
        self.show, self.seed = show, 0
        self.text = widgets.Text(prompt, continuous_update=False, layout={"width": "36em"}, description="prompt")
        self.button = widgets.Button(description="make a sound", button_style="primary")
        self.message, self.output = widgets.Label(), widgets.Output()
        self.button.on_click(lambda _: self.make())
        super().__init__([widgets.HBox([self.text, self.button]), self.message, self.output])

    def make(self) -> None:
        """What the button does."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                text = check_prompt(self.text.value)
                parse(text)
            except UserError as error:
                self.message.value = str(error)
                return
            self.message.value = " ".join(str(warning.message) for warning in caught)
        self.output.clear_output(wait=True)
        with self.output, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the text encoder says again what was said above
            self.show(text, self.seed)
        self.seed += 1

    def __repr__(self) -> str:
        return "A box to type a prompt into stands here while the notebook runs."
