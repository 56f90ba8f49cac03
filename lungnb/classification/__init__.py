"""The one pipeline of all classifiers: RespireNet, the Conv-LSTM models, MPO, MPA and the comparison are presets of it.

    task, split -> clips -> features -> network -> fit -> predictions

A preset is a YAML file of `lungnb.configs`; its fields are those of `Classification`, and an unknown one is an error.
"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lungnb.classification.choices import Choices
from lungnb.classification.dataset import Dataset, changed_metadata, make_dataset, stack_sites
from lungnb.classification.encoders import FILES as ENCODER_FILES
from lungnb.classification.encoders import encoder
from lungnb.classification.fitting import class_draws, costs_of, fit_estimator, monitor, predictions_of
from lungnb.classification.networks import CLASSIFIERS, Classifier, ImageClassifier, Sizes
from lungnb.classification.preprocessing import Clips, Preprocessing
from lungnb.core import UserError
from lungnb.data.corpus import Corpus, fingerprint_files
from lungnb.data.folders import files
from lungnb.data.splits import TESTED, Split, cohort_split, make_split
from lungnb.data.tasks import Task, task_of
from lungnb.features import augment
from lungnb.metrics.classification import biocas_scores, scores
from lungnb.papers.convlstm import class_weights
from lungnb.papers.pediatric import SCALE, change_content, minus_recording_mean
from lungnb.papers.respirenet import load_imagenet
from lungnb.training import State, fit, make_accelerator

LEAKY_RULE = "test (leaky)"


class Classification(Choices):
    """One classifier, trained and tested on one task."""

    #: A finished training: what of its weights has the same name and shape is the start.
    start: "Classification | None" = None

    def model_post_init(self, context: Any) -> None:
        new = self.infra.folder is None
        super().model_post_init(context)
        if (
            new and self.encoder and (folder := Path(self.encoder).expanduser()).is_dir()
        ):  # its content is part of the key
            self.infra._update(
                version=f"{self.infra.version}-{fingerprint_files(files(folder, ENCODER_FILES), folder)}"
            )

    @property
    def name(self) -> str:
        tricks = [*(["CBA"] if self.cba else []), *(["BRC"] if self.clipping != "none" else []), *self.only.values()]
        return " ".join([self.model, *self.sites[: len(self.sites) == 1], *tricks]) + f", {self.task}"

    @property
    def rules(self) -> tuple[str, ...]:
        """Which epochs are kept."""
        chosen = ("validation", "last") if self.selection == "validation" else ("last",)
        return (*chosen, LEAKY_RULE) if self.leaky_selection else chosen

    def view(self, task: Task | None = None, fingerprint: str = "") -> Corpus:
        """The data set of `task` (its own if not said) as the task sees it."""
        task = task or task_of(self.task)
        return task.view(self.load(task.corpus, fingerprint or self.corpus))

    def parts(self, corpus: Corpus) -> Split:
        """The split of the events of a view."""
        if self.split == "cohort":
            fold = {"fold": self.fold, "n_folds": self.n_folds, "balanced": self.balanced}
            return cohort_split(corpus.events, self.cohort, **fold)
        how = {"validation": self.validation, "held_out": self.held_out, "leaky": self.leaky}
        return make_split(corpus.events, self.split, fold=self.fold or 0, n_folds=self.n_folds, **how)

    def positions(self, corpus: Corpus) -> list[str]:
        """The sites, in the order of embeddings, networks and channels."""
        return list(self.sites) or sorted(corpus.events["position"].dropna().unique().tolist())

    @property
    def preprocessing(self) -> Preprocessing:
        """How sounds become what the network is given."""
        clips = Clips(
            self.clip_s, self.padding, self.test_padding, self.long, self.cba, self.same_class, self.random_side
        )
        name = self.front_end or CLASSIFIERS[self.model].front_end
        return Preprocessing(name, clips, self.sample_rate, self.size, self.pooling)

    def dataset(self, task: Task | None = None, fingerprint: str = "", device: torch.device | str = "cpu") -> Dataset:
        """What the network is given, of `task` (its own if not said; of another one the test part alone)."""
        home = task_of(self.task)
        corpus = self.view(task, fingerprint)
        part = self.parts(corpus).part
        for column, value in self.only.items():
            part = part.mask(corpus.events[column].fillna("") != value)
        if task is not None:
            part = part.where(part == "test")
        entry = CLASSIFIERS[self.model]
        if task is None and not (part == "train").any():
            raise self._lacks("train")
        frozen = encoder(self.encoder, self.random_weights, self.seed) if self.encoder else None
        positions = self.positions(corpus if task is None else self.view())
        dataset = make_dataset(
            corpus,
            part,
            self.preprocessing,
            home.classes,
            (task or home).labels,
            home.unit,
            positions,
            age_step=(task or home).age_step,
            keep_waveforms=self.augment_waveforms and task is None,
            encoder=frozen,
            seed=self.seed,
            device=device,
        )
        events = corpus.events.iloc[dataset.event]
        if self.content != "all":
            dataset = replace(dataset, features=change_content(dataset.features, self.content))
        if self.normalisation == "recording":
            features = minus_recording_mean(dataset.features, events["recording"].to_numpy(object))
            dataset = replace(dataset, features=features)
        if entry.all_sites or self.sites:
            scaled = self.normalisation in ("channel", "row")
            position = events["position"].to_numpy(object)
            dataset = stack_sites(dataset, position, positions, self.missing, self.seed, scaled)
        metadata = changed_metadata(dataset.metadata, self.metadata, len(positions), self.seed)
        return replace(dataset, metadata=metadata).to(device)

    def _lacks(self, part: str) -> UserError:
        of = "".join(f" of {column} {value}" for column, value in self.only.items())
        return UserError(f"{self.name}: no event{of} is in {part}; use more of the data or another fold.")

    def network(self, dataset: Dataset) -> Classifier | ImageClassifier:
        """The untrained network for features as those of `dataset`. Raises UserError for trees or a regression."""
        build = CLASSIFIERS[self.model].build
        if build is None:
            raise UserError(f"{self.model!r} is no network and is not stored; choose another model.")
        fixed = SCALE.get(self.front_end or "stft", (0.0, 1.0))
        scale = {"fixed": fixed, "recording": (0.0, fixed[1])}.get(self.normalisation, self.normalisation)
        n_features = dataset.rows.shape[1] * dataset.features.shape[1]
        n_masks = n_features if dataset.mask else 0
        sizes = Sizes(
            n_classes=len(task_of(self.task).classes),
            n_channels=n_features + n_masks,
            n_masks=n_masks,
            n_rows=dataset.features.shape[2],
            n_positions=len(self.positions(self.view())),
            normalisation=scale,
            **{k: getattr(self, k) for k in ("backbone", "zoom", "clipping", "size", "readout", "hidden", "dropout")},
        )
        return build(sizes)

    def trained(self, dataset: Dataset | None = None) -> Classifier | ImageClassifier:
        """The selected network of the finished run, in evaluation mode."""
        network = self.network(self.dataset() if dataset is None else dataset)
        network.load_state_dict(self.state)
        return network.eval()

    def predict(self, **changes: Any) -> pd.DataFrame:
        """Predictions of the finished network with other choices, as test_padding="smart" or metadata="zeroed"."""
        changed = self.infra.clone_obj(changes)
        dataset = changed.dataset()
        network = self.trained(dataset)
        return predictions_of(network, dataset, self._tested(dataset), self.combine)

    def tested(self, *parts: str, rule: str = "", task: str = "") -> pd.DataFrame:
        """Predictions of parts of the split (test, inter, intra if not said) by the epoch that `rule` selects."""
        frame = self.predictions
        here = (frame["rule"] == (rule or self.selection)) & (frame["task"] == (task or self.task))
        return frame[here & frame["split"].isin(parts or ("test", "inter", "intra"))].reset_index(drop=True)

    def _tested(self, dataset: Dataset) -> tuple[str, ...]:
        parts = dataset.units["split"].dropna().unique()
        return tuple(p for p in parts if p != "train" or self.predict_train)

    def compute(self, checkpoint: Path) -> tuple[pd.DataFrame, pd.DataFrame, State, dict[str, Any]]:
        self.check()
        accelerator = make_accelerator(self.device, self.precision)
        dataset = self.dataset(device=accelerator.device)
        selects = self.selection == "validation" and CLASSIFIERS[self.model].build is not None
        for needed in (*([("validation",)] if selects else []), TESTED):
            if not len(dataset.samples(*needed)):
                raise self._lacks(needed[0])
        notes = self.parts(self.view()).notes
        if self.test_padding == "smart":
            notes.append("leaky padding: test clips are padded by their own labels")
        others = {name: self.dataset(task_of(name), key, accelerator.device) for name, key in self.transfer.items()}
        started = time.perf_counter()
        if (entry := CLASSIFIERS[self.model]).build is None:
            n_classes, weights = len(task_of(self.task).classes), self.encoder or "from scratch"
            history, fitted = fit_estimator(entry, dataset, n_classes, self.class_balance, self.seed)
            facts = {"weights": weights + (", random" if self.random_weights else "")}
            predictors, states = dict.fromkeys(self.rules, fitted), {}
        else:
            history, states, facts = self._fit(dataset, accelerator, checkpoint)
            predictors = {}
            for rule in self.rules:
                predictors[rule] = self.network(dataset)  # in float32, whatever it was trained in
                predictors[rule].load_state_dict(states[rule])
                predictors[rule].to(accelerator.device).eval()
        seconds = time.perf_counter() - started
        frames = [
            predictions_of(predictors[rule], given, self._tested(given), self.combine).assign(rule=rule, task=name)
            for rule in self.rules
            for name, given in ({self.task: dataset} | others).items()
        ]
        predictions = pd.concat(frames, ignore_index=True)
        units = dataset.units.loc[np.unique(dataset.unit)]  # a patient without a clip is not counted
        facts |= {
            "notes": notes,
            "n_units": units["split"].value_counts().to_dict(),
            "n_patients": units.groupby("split")["patient"].nunique().to_dict(),
            "training_seconds": round(seconds, 2),
            **costs_of(predictors[self.selection], dataset),
            "scores": {
                part: scores(g["label"], g["predicted"], biocas_scores)
                for part, g in predictions.query("rule == @self.selection and task == @self.task").groupby("split")
            },
        }
        return history, predictions, states.get(self.selection, {}), facts

    def _fit(self, dataset: Dataset, accelerator, checkpoint: Path):
        """History, weights by rule, and facts of the training."""
        device = accelerator.device
        train, label = dataset.samples("train"), dataset.label.to(device)
        torch.manual_seed(self.seed)
        network = self.network(dataset).to(device)
        pretrained = load_imagenet(network.network, self.pretrained) if self.model == "RespireNet" else "from scratch"
        if self.start is None:
            trained_on = dataset.rows[train].unique()
            own = trained_on[trained_on < len(dataset.event)]
            network.fit_statistics(dataset.features[rows.to(device)] for rows in own.split(128))
        else:
            own, state = network.state_dict(), self.start.state
            fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
            network.load_state_dict(fits, strict=False)
        weight = class_weights(label[train.to(device)], self.loss_weights, len(task_of(self.task).classes)).float()
        front = self.preprocessing.front_end().to(device)

        def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            samples = train[items.cpu()]
            if self.augment_waveforms:
                clips = dataset.waveforms[dataset.rows[samples, 0].to(device)].float() / 32767
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    features = front(augment(clips, generator))
            else:
                features = dataset.batch(samples)
            drawn = generator if self.augment_features else None
            logits = net(features, dataset.metadata[samples].to(device), drawn)
            return nn.functional.cross_entropy(logits, label[samples.to(device)], weight)

        followed = {"val": "validation"} | ({"test": "test"} if self.leaky_selection else {})
        followed = {k: part for k, part in followed.items() if len(dataset.samples(part))}
        sign, number = "-" if self.criterion.startswith("-") else "", self.criterion.removeprefix("-")
        select = {"validation": f"{sign}val_{number}", LEAKY_RULE: f"{sign}test_{number}"}
        select = {rule: name for rule, name in select.items() if rule in self.rules}
        weights = None if self.class_balance is None else class_draws(dataset.label[train], self.class_balance)
        draws = {"clips": len(train), "events": min(dataset.n_events, len(train))}.get(self.draws, self.draws)
        fitted = fit(
            network,
            loss_of,
            draws,
            self._optimizer(network),
            lambda net: monitor(net, dataset, followed, self.combine),
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            accelerator=accelerator,
            select=select,
            patience=self.patience,
            weights=weights,
            rate=self._rate,
            max_grad_norm=self.max_grad_norm,
            checkpoint=checkpoint,
            checkpoint_every_s=120,
            task=self.name,
        )
        chosen = fitted.history.iloc[fitted.epochs[self.selection]].to_dict()
        facts = {
            "weights": pretrained,
            "epoch_of": fitted.epochs,
            "precision": {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
            **{k: float(v) for k, v in chosen.items() if k != "epoch"},
        }
        return fitted.history, fitted.states, facts

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(network.parameters(), self.lr, momentum=0.9, weight_decay=self.weight_decay)
        return torch.optim.AdamW(network.parameters(), self.lr, weight_decay=self.weight_decay, fused=True)

    def _rate(self, epoch: int) -> float:
        done = epoch / self.epochs
        return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self.schedule]
