"""What finished classifiers look at, sound by sound: maps of trained networks and of their controls, scored (notebook 92).

Whose map it is, its `control`:

    trained            the network's as it was trained
    redrawn 0, 1, ...  of the same network with every weight drawn anew; pixels are deleted from what the trained one is given
    random order       none: pixels are deleted in random order
    true places        none: pixels of the sounds are deleted first
    floor              none: a map that is the same everywhere
    loudest pixel      no network's: each pixel's level above the mean of its row
    truth              the true places, seen as coarsely as the layer sees
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.classification.dataset import Dataset
from lungnb.classification.fitting import predict_samples, predictions_of
from lungnb.classification.preprocessing import Preprocessing, plan
from lungnb.core import UserError
from lungnb.data.audio import Audio, ClipPlan, plan_crops
from lungnb.data.corpus import Corpus, read_truth
from lungnb.metrics import probability_columns
from lungnb.metrics.attribution import (
    BATCH,
    METHODS,
    area_under,
    attribution_maps,
    deletion,
    randomise_weights,
)
from lungnb.metrics.localisation import (
    BAND_HZ,
    BANDS_HZ,
    Examples,
    at_detail,
    band_shares,
    choose_events,
    clip_boxes,
    feature_axes,
    level_above_row,
    map_scores,
    rank_correlation,
)
from lungnb.metrics.uncertainty import mutual_information
from lungnb.papers.pediatric import summarise_crops

#: Where one can look, from the last layer that has rows and frames.
STAGES = {"last": -1, "one earlier": -2, "two earlier": -3}
#: Shares of a map, by band.
BANDS = [f"{low}-{high} Hz" for low, high in BANDS_HZ]


def sounds_of(
    corpus: Corpus, dataset: Dataset, how: Preprocessing, places: str, n: int, kinds: Sequence[str]
) -> tuple[pd.DataFrame, Examples]:
    """Up to `n` test events of each of `kinds`, patients in turn, and their clips as networks are given them (`examples_of`).

    places: where the sounds truly are: "truth", which the simulator knows; "annotations", the time of each event, shown in a clip
    with what is around it in the recording, at a moment drawn at random; "" if nobody knows.
    """
    test = corpus.events.loc[dataset.units.loc[dataset.units["split"] == "test", "event"]]
    if places == "annotations":
        length_s = test["end_s"] - test["start_s"]
        lasts = test.groupby("recording")["end_s"].transform("max")
        test = test[(length_s <= how.clips.seconds / 2) & (lasts >= how.clips.seconds)]
    truth = read_truth(corpus.audio_root) if places == "truth" else None
    sounds = choose_events(test, truth, n, kinds)
    return sounds, examples_of(corpus, dataset, how, sounds, truth, surroundings=places == "annotations")


def examples_of(
    corpus: Corpus,
    dataset: Dataset,
    how: Preprocessing,
    sounds: pd.DataFrame,
    truth: pd.DataFrame | None = None,
    surroundings: bool = False,
) -> Examples:
    """The first clip of each of `sounds` as networks are given it, with its true places: of the simulator's `truth`, or with
    `surroundings` of all events of that label in the clip, else none.

    sounds: rows of the events of `corpus`, of which `dataset` was made as `how` says."""
    audio, clip_s, boxes = how.audio(corpus), how.clips.seconds, []
    if surroundings:
        planned, boxes = _with_surroundings(audio, corpus.events, sounds, clip_s)
    else:
        planned = plan(audio, sounds, how.clips, (), training=False)
    features = how.features(corpus, audio, planned)
    first = np.unique(planned.event, return_index=True)[1]
    begin = audio.locate(sounds)[0]
    for i, k in enumerate(first if truth is not None else ()):
        segments = [
            ((start - begin[i]) / audio.sample_rate, n / audio.sample_rate) for start, n, _ in planned.segments[k]
        ]
        boxes.append(clip_boxes(sounds.iloc[i], segments, truth))
    axes = feature_axes(how.name, *features.shape[2:], how.pooling)
    known = pd.Index(dataset.units["event"]).get_indexer(sounds.index)
    sample = [np.flatnonzero(dataset.unit == k)[0] for k in known]
    return Examples(features[first], dataset.metadata[sample], dataset.label[sample], *axes, clip_s, boxes)


def _with_surroundings(
    audio: Audio, events: pd.DataFrame, sounds: pd.DataFrame, clip_s: float
) -> tuple[ClipPlan, list[pd.DataFrame]]:
    """Clips of the recording around each of `sounds`, which begins anywhere in it, and when events of its label are there."""
    length_s = (audio.length / audio.sample_rate).reindex(sounds["recording"]).to_numpy(float)
    spare = clip_s - (sounds["end_s"] - sounds["start_s"]).to_numpy()
    drawn = np.random.default_rng(0).random(len(sounds))
    start_s = np.clip(sounds["start_s"].to_numpy() - drawn * spare, 0, length_s - clip_s)
    boxes = []
    for start, sound in zip(start_s, sounds.itertuples(), strict=True):
        here = events[(events["recording"] == sound.recording) & (events["label"] == sound.label)]
        here = here[(here["end_s"] > start) & (here["start_s"] < start + clip_s)]
        times = {name: (here[name] - start).clip(0, clip_s) for name in ("start_s", "end_s")}
        boxes.append(pd.DataFrame(times).assign(low_hz=BAND_HZ[0], high_hz=BAND_HZ[1]))
    return plan_crops(audio, sounds, np.arange(len(sounds)), start_s, clip_s), boxes


def attributions(
    networks: Mapping[int, nn.Module],
    sounds: pd.DataFrame,
    clips: Examples,
    draws: int = 3,
    steps: int = 10,
    shown: int = 6,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """What the trained networks of one classifier, by seed, look at: a table of maps, and some of the maps themselves.

    sounds, clips: what `sounds_of` chose. draws: networks with their weights drawn anew, of each. steps: of a deletion curve.
    The table has a row a seed, control, method, stage and sound: event, recording, patient, label; p, of the label in the clip,
    and right, whether it is the greatest; rows, frames of the layer; pointing, moment, energy, where places are known; BANDS;
    `likeness` of a redrawn network's map to the trained one's, and `agreement` with the maps of the other seeds, or draws, both
    rank correlations; `deletion`, the area under `left 0` to `left <steps>`. The maps are those of the first `shown` sounds of
    each kind, of the first trained network at its last stage, on the common grid (`maps_to_keep`).
    """
    first, masks = next(iter(networks)), clips.masks if clips.boxes else None
    given = (clips.features, clips.metadata, clips.label)
    about = sounds[["recording", "patient", "label"]].rename_axis("event").reset_index()
    tables, maps, detail = [], {}, {}

    def add(seed: int, control: str, values: Mapping, method: str = "", stage: str = "last") -> None:
        size = dict(zip(("rows", "frames"), detail.get(stage, (0, 0)), strict=True))
        tables.append(about.assign(seed=seed, control=control, method=method, stage=stage, **size, **values))

    for seed, network in networks.items():
        answer = _answer(network, *given)
        others = {"trained": network} | {f"redrawn {k}": randomise_weights(network, k) for k in range(draws)}
        for (control, other), method, (stage, layer) in product(others.items(), METHODS, STAGES.items()):
            raw, detail[stage] = attribution_maps(other, *given, method, layer)
            own = maps[seed, control, method, stage] = clips.on_grid(raw)
            values = answer | _scores(own, masks)
            if control != "trained":
                values |= {"likeness": rank_correlation(maps[seed, "trained", method, stage], own)}
            if stage == "last" and (control == "trained" or method == "Grad-CAM++"):
                values |= _deleted(network, given, raw, steps)
            add(seed, control, values, method, stage)
        add(seed, "random order", answer | _deleted(network, given, np.zeros_like(raw), steps))
        if masks is not None:
            add(seed, "true places", answer | _deleted(network, given, clips.own_masks.astype(float), steps))
    loud = clips.on_grid(level_above_row(clips.features))
    add(first, "loudest pixel", _scores(loud, masks))
    if masks is not None:
        add(first, "floor", map_scores(np.ones(masks.shape), masks))
        for stage, cells in detail.items():
            add(first, "truth", _scores(clips.on_grid(at_detail(clips.own_masks, cells)), masks), stage=stage)
    agreement = _agreement(maps)
    for table in tables:
        key = (table["seed"][0], table["control"][0], table["method"][0], table["stage"][0])
        table["agreement"] = agreement.get(key, np.nan)
    of_first = {f"trained, {method}": maps[first, "trained", method, "last"] for method in METHODS}
    return pd.concat(tables, ignore_index=True), maps_to_keep(of_first | {"loud": loud}, sounds, clips, shown)


@torch.no_grad()
def _answer(network: nn.Module, features, metadata, label: torch.Tensor) -> dict[str, np.ndarray]:
    parts = zip(features.split(BATCH), metadata.split(BATCH), strict=True)
    p = torch.cat([network(x, m).float() for x, m in parts]).softmax(1)
    return {"p": p.gather(1, label[:, None])[:, 0].numpy(), "right": (p.argmax(1) == label).numpy()}


def _scores(maps: np.ndarray, masks: np.ndarray | None) -> dict[str, np.ndarray]:
    found = {} if masks is None else map_scores(maps, masks)
    return found | dict(zip(BANDS, band_shares(maps).T, strict=True))


def _deleted(network: nn.Module, given: tuple, importance: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    curves = deletion(network, *given, importance, steps)
    return {"deletion": area_under(curves)} | {f"left {k}": p for k, p in enumerate(curves.T)}


def _agreement(maps: Mapping[tuple[int, str, str, str], np.ndarray]) -> dict[tuple, np.ndarray]:
    """Of each maps the mean rank correlation with those of the other seeds (trained), or of the other draws of its seed."""
    found = {}
    for seed, control, *how in maps:
        rivals = [key for key in maps if key[2:] == (*how,) and key != (seed, control, *how)]
        if control == "trained":
            rivals = [key for key in rivals if key[1] == "trained"]
        else:
            rivals = [key for key in rivals if key[1] != "trained" and key[0] == seed]
        if rivals:
            own = maps[seed, control, *how]
            found[seed, control, *how] = np.mean([rank_correlation(own, maps[key]) for key in rivals], axis=0)
    return found


def maps_to_keep(
    maps: Mapping[str, np.ndarray], sounds: pd.DataFrame, clips: Examples, shown: int
) -> dict[str, np.ndarray]:
    """Of the first `shown` sounds of each kind: `event`, `label`, boxes (N, 5: number of the sound, start_s, end_s, low_hz,
    high_hz), and by name their picture and `maps` on the common grid (shown, 62, frames), each from its least (0) to its greatest
    (255). Of the whole front end `size` (rows, frames) and `hertz` (lowest, highest)."""
    here = np.sort(
        np.concatenate([np.flatnonzero(sounds["label"] == kind)[:shown] for kind in sounds["label"].unique()])
    )
    columns = ["start_s", "end_s", "low_hz", "high_hz"]
    boxes = [clips.boxes[k][columns].to_numpy(float) for k in here] if clips.boxes else [np.zeros((0, 4))] * len(here)
    numbered = [np.column_stack([np.full(len(box), k), box]) for k, box in enumerate(boxes)]
    picture = clips.on_grid(clips.features[:, 0].float().numpy())
    kept = {"event": sounds.index.to_numpy(str)[here], "label": sounds["label"].to_numpy(str)[here]}
    kept |= {"boxes": np.concatenate(numbered), "size": np.array(clips.features.shape[2:])}
    kept |= {"hertz": np.array([clips.hertz.min(), clips.hertz.max()])}
    return kept | {name: _in_255_steps(x[here]) for name, x in ({"picture": picture} | dict(maps)).items()}


def _in_255_steps(maps: np.ndarray) -> np.ndarray:
    low, span = maps.min(axis=(1, 2), keepdims=True), np.ptp(maps, axis=(1, 2), keepdims=True)
    return (255 * (maps - low) / np.where(span > 0, span, 1)).round().astype(np.uint8)


def passes_with_dropout(
    network: nn.Module, dataset: Dataset, parts: Sequence[str], combine: str, passes: int, seed: int
) -> list[pd.DataFrame]:
    """The predictions of a trained network (`predictions_of`) in so many passes with dropout left on, a table each.

    Gal and Ghahramani (2016): which neurons are silent is drawn anew in each pass, which makes it a draw from (something like)
    a posterior of networks. Batch norm stays in evaluation mode, else clips of a batch would disturb one another. Raises
    UserError for less than two passes.
    """
    if passes < 2:
        raise UserError(f"Passes can disagree only if there are two or more, not {passes}; ask for 20.")
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout)]

    def predict(dataset: Dataset, samples: torch.Tensor) -> np.ndarray:
        return predict_samples(network, dataset, samples, dropouts)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = [predictions_of(predict, dataset, tuple(parts), combine) for _ in range(passes)]
    network.eval()
    return drawn


def with_dropout(network: nn.Module, dataset: Dataset, parts: Sequence[str], passes: int, seed: int) -> pd.DataFrame:
    """For the events of these parts of the split the means over `passes_with_dropout`, and their `mutual information`."""
    frames = passes_with_dropout(network, dataset, parts, "mean", passes, seed)
    columns = probability_columns(frames[0])
    drawn = np.stack([frame[columns] for frame in frames])
    mean = pd.DataFrame(drawn.mean(axis=0), columns=columns)
    return frames[0].assign(
        predicted=mean.to_numpy().argmax(1), **mean, **{"mutual information": mutual_information(drawn)}
    )


def patients_with_dropout(
    network: nn.Module, dataset: Dataset, parts: Sequence[str], passes: int, seed: int
) -> pd.DataFrame:
    """Of each patient the mean over `passes_with_dropout`, and their spread `sd`.

    The crops of a pass are averaged first, so that the spread is the network's and not that of the crops."""
    drawn = [summarise_crops(frame) for frame in passes_with_dropout(network, dataset, parts, "none", passes, seed)]
    p1 = pd.concat([frame["p1"] for frame in drawn], axis=1)
    return drawn[0].assign(p0=1 - p1.mean(axis=1), p1=p1.mean(axis=1), sd=p1.std(axis=1))
