"""What a classifier is given: samples of one site or of several, what is scored of them, and what is known of the patients.

events with one split column -> clips and their features (lungnb.classification.preprocessing) -> Dataset
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.classification.preprocessing import Preprocessing, plan
from lungnb.core import UserError
from lungnb.data.audio import cut
from lungnb.data.corpus import Corpus
from lungnb.papers.convlstm import Metadata
from lungnb.papers.pediatric import samples_of


def metadata_of(events: pd.DataFrame, positions: Sequence[str], age_step: float = 1.0) -> torch.Tensor:
    """Indices (N, 3) of age (bins of `age_step` years), sex and position (of `positions`); the last row is the unknown."""
    age = np.floor(events["age_years"].astype("Float64").fillna(-1).to_numpy(float) / age_step)
    age = np.where(age < 0, Metadata.N_AGES, age.clip(max=Metadata.N_AGES - 1))
    sex = events["sex"].map({"male": 0, "female": 1}).fillna(Metadata.N_SEXES)
    position = events["position"].map({site: k for k, site in enumerate(positions)}).fillna(len(positions))
    return torch.from_numpy(np.stack([np.asarray(c, dtype=np.int64) for c in (age, sex, position)], axis=1))


def changed_metadata(metadata: torch.Tensor, form: str, n_positions: int, seed: int = 0) -> torch.Tensor:
    """Metadata of other samples ("shuffled"), or all unknown ("zeroed"): controls of what a model makes of them."""
    if form == "shuffled":
        return metadata[torch.from_numpy(np.random.default_rng(seed).permutation(len(metadata)))]
    if form == "zeroed":
        return torch.tensor([Metadata.N_AGES, Metadata.N_SEXES, n_positions]).expand_as(metadata)
    return metadata


@dataclass(frozen=True)
class Dataset:
    """What a classifier is given, S samples of N clips.

    features: (N, C, rows, frames). rows: (S, K), the clips of each sample: one, or one of each site, the last K features
    standing for missing sites. metadata: (S, 3). label: (S,), class index. unit: (S,), row of `units`, the table of what is
    scored (event, recording, patient, position, device, cohort, split, label). waveforms: int16 (N, T), where training
    augments them. event: (N,) row of the events of each clip. n_events: trained on. mask: channels of 1 (recorded) and 0 follow.
    """

    features: torch.Tensor
    rows: torch.Tensor
    metadata: torch.Tensor
    label: torch.Tensor
    unit: np.ndarray
    units: pd.DataFrame
    event: np.ndarray
    n_events: int
    waveforms: torch.Tensor | None = None
    mask: bool = False

    def samples(self, *parts: str) -> torch.Tensor:
        """Indices of the samples of these parts of the split."""
        return torch.from_numpy(np.flatnonzero(np.isin(self.units["split"].to_numpy(object)[self.unit], parts)))

    def batch(self, samples: torch.Tensor) -> torch.Tensor:
        """Features (B, K * C, rows, frames) of `samples`."""
        rows = self.rows[samples]
        features = self.features[rows.to(self.features.device)].flatten(1, 2)
        if not self.mask:
            return features
        recorded = (rows < len(self.features) - rows.shape[1]).to(features)
        return torch.cat([features, recorded[:, :, None, None].expand_as(features)], dim=1)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same with its clips on `device`."""
        waveforms = None if self.waveforms is None else self.waveforms.to(device)
        return replace(self, features=self.features.to(device), waveforms=waveforms)


def make_dataset(
    corpus: Corpus,
    part: pd.Series,
    how: Preprocessing,
    classes: Sequence[str],
    labels: dict[str, str | None],
    unit: Literal["event", "patient"],
    positions: Sequence[str],
    *,
    age_step: float = 1.0,
    keep_waveforms: bool = False,
    encoder: nn.Module | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Dataset:
    """The dataset of `corpus` (`Task.view`), whose rows are in `part`, one clip a sample. encoder: makes the embeddings.

    Where training clips are made as all others, all rows are cut in one go, so that every fold shares the features.
    """
    audio, events, clips = how.audio(corpus), corpus.events, how.clips
    apart = clips.padding != clips.test_padding or clips.cba or clips.random_side or keep_waveforms
    names = part.fillna("").to_numpy(object)
    groups = [(names == "train", True), (~np.isin(names, ["train", ""]), False)] if apart else [(names == names, False)]
    features, waveforms, event, annotation = [], [], [], []
    for rows, training in [(np.flatnonzero(here), training) for here, training in groups if here.any()]:
        planned = plan(audio, events.iloc[rows], clips, list(labels), training, seed)
        features.append(how.features(corpus, audio, planned, encoder, device))
        event.append(rows[planned.event])
        annotation.append(planned.label)
        if keep_waveforms and training:
            waveforms.append(torch.from_numpy(cut(audio.samples, planned)))
    event, annotation = np.concatenate(event), np.concatenate(annotation)
    units, unit_of = units_of(events, part, unit, classes)
    of_label = {label: classes.index(name) for label, name in labels.items() if name is not None}
    label = torch.tensor([of_label[a] for a in annotation])
    if unit == "patient":  # each recording has its patient's label
        label = torch.tensor(units["label"].to_numpy(int)[unit_of[event]])
    whole = Dataset(
        features=torch.cat(features) if len(features) > 1 else features[0],
        rows=torch.arange(len(event))[:, None],
        metadata=metadata_of(events, positions, age_step)[event],
        label=label,
        unit=unit_of[event],
        units=units,
        event=event,
        n_events=int((names == "train").sum()),
        waveforms=torch.cat(waveforms) if waveforms else None,
    )
    used = np.flatnonzero(units["split"].notna().to_numpy()[whole.unit])
    columns = {name: getattr(whole, name)[torch.from_numpy(used)] for name in ("rows", "metadata", "label")}
    return replace(whole, unit=whole.unit[used], **columns)


def units_of(
    events: pd.DataFrame, part: pd.Series, unit: str, classes: Sequence[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows that are scored, and for each event which of them it belongs to. A patient of two parts is two units."""
    columns = ["recording", "patient", "position", "device", "cohort"]
    split = part.astype(object).where(part.notna(), None)
    label = events["label"].map({name: k for k, name in enumerate(classes)}).astype(int)
    rows = events[columns].assign(split=split, label=label)
    rows.insert(0, "event", events.index)
    if unit == "event":
        return rows.reset_index(drop=True), np.arange(len(rows))
    number = rows.groupby(["patient", "split"], sort=False, dropna=False).ngroup().to_numpy()
    return rows.drop_duplicates(["patient", "split"]).reset_index(drop=True), number


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
