"""From clips to what MPO and MPA are given: samples of one site, or of several sites of a patient at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import torch

from lungnb.classification.dataset import Dataset
from lungnb.core import UserError
from lungnb.papers.pediatric import samples_of


def stack_sites(
    dataset: Dataset,
    position: Sequence[str],
    sites: Sequence[str],
    missing: Literal["zero", "mean", "mask"],
    seed: int,
    scaled: bool = False,
) -> Dataset:
    """Samples of several sites at once (MPA), or of one (MPO); position: (N,) of each clip.

    A site that was not recorded is 0 dB, as in the paper, or its mean over the clips trained on; "mask": 0, and further channels
    say so. scaled: rows will be z-scores, whose 0 is the mean of the row. Raises UserError if a part that is needed has no
    patient with a clip at these sites.
    """
    clip = dataset.rows[:, 0].numpy()
    site = np.asarray(position, dtype=object)
    table = pd.DataFrame({"patient": dataset.unit, "site": site[clip]}, index=clip)
    samples = samples_of(table, sites, np.random.default_rng(seed))
    unit = samples.patient.astype(int)
    split = dataset.units["split"].to_numpy(object)
    if lacking := [p for p in ("train", "validation") if p in split and not (split[unit] == p).any()]:
        raise UserError(f"No patient for {lacking[0]} has a clip at {', '.join(sites)}; use more patients.")
    blank = dataset.features.new_zeros(len(sites), *dataset.features.shape[1:])
    trained = clip[split[dataset.unit] == "train"]
    if scaled:
        blank += dataset.features[torch.from_numpy(trained)].float().mean((0, 3), keepdim=True).to(blank.dtype)
    if missing == "mean":
        for k, name in enumerate(sites):
            own = dataset.features[torch.from_numpy(trained[site[trained] == name])]
            if len(own):
                blank[k] = own.float().mean(0).to(own.dtype)
    column = torch.arange(len(sites)).expand_as(samples.rows)
    first = {u: k for k, u in reversed(list(enumerate(dataset.unit)))}
    return replace(
        dataset,
        features=torch.cat([dataset.features, blank]) if len(sites) > 1 else dataset.features,
        rows=torch.where(samples.rows < 0, len(dataset.features) + column, samples.rows),
        metadata=dataset.metadata[[first[u] for u in unit]],
        label=torch.tensor(dataset.units["label"].to_numpy(int)[unit]),
        unit=unit,
        mask=missing == "mask",
    )
