"""How any classifier of the comparison is trained, and what it says of a part: one loop for networks, one fit for trees."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from lungnb.classification.baselines import boosting, statistics
from lungnb.classification.compare_inputs import Inputs
from lungnb.classification.cost import multiply_adds, parameters
from lungnb.classification.networks import Classifier, Painted, Sizes, build
from lungnb.metrics.classification import biocas_scores, scores
from lungnb.papers.respirenet_model import load_imagenet
from lungnb.training import State, fit, make_accelerator

if TYPE_CHECKING:
    from lungnb.classification.compare import CompareRun, Data

EVAL_BATCH = 64
#: A class is drawn in proportion to its count to this power: 1 as it comes, 0 all classes alike.
BALANCE = 0.5
#: Which part selects the epoch. A model without epochs has nothing to select, and both are the same.
RULES = {"validation": "validation", "test (leaky)": "test"}


def network_of(run: "CompareRun", data: "Data") -> Classifier | Painted:
    """The untrained network of `run`."""
    sizes = Sizes(
        n_classes=len(data.task.classes),
        n_sites=len(data.sites),
        backbone=run.backbone,
        zoom=run.zoom,
        clipping=run.clipping,
        hidden=run.hidden,
        dropout=run.dropout,
    )
    home = data.inputs[run.task]
    n_channels = home.rows.shape[1] * home.maps.shape[1]
    return build(run.model, sizes, n_channels, home.maps.shape[2])


#: Class probabilities (S, n_classes) of samples.
Predictor = Callable[[Inputs, torch.Tensor], np.ndarray]


def train_network(
    run: "CompareRun", data: "Data", checkpoint: Path
) -> tuple[pd.DataFrame, State, dict[str, Predictor], dict[str, Any]]:
    """History, the weights selected on validation, a predictor for each of RULES, and costs."""
    accelerator = make_accelerator(run.device, run.precision)
    given = data.inputs[run.task]
    train, label = given.samples("train"), given.label
    torch.manual_seed(run.seed)
    network = network_of(run, data)
    pretrained = load_imagenet(network.network, run.pretrained) if run.model == "RespireNet" else "from scratch"
    network.fit_statistics(given.batch(some) for some in train.split(EVAL_BATCH))
    network.to(accelerator.device)

    def loss_of(net: nn.Module, items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        some = train[items.cpu()]
        about = given.about[some].to(items.device)
        logits = net(given.batch(some).to(items.device), about, generator if run.augment else None)
        return nn.functional.cross_entropy(logits, label[some].to(items.device))

    def monitor(net: nn.Module) -> dict[str, float]:
        row = {}
        for part in RULES.values():
            frame = predictions(given, part, probabilities(net, given, given.samples(part)))
            row |= {f"{part}_{k}": v for k, v in scores(frame["label"], frame["predicted"], biocas_scores).items()}
            row[f"{part}_loss"] = log_loss(frame)
            # Of a few patients many epochs are equally right: then the surer one is better.
            row[f"{part}_choice"] = row[f"{part}_AS"] - 0.001 * row[f"{part}_loss"]
        return row

    fitted = fit(
        network,
        loss_of,
        run.draws or min(given.n_events, len(train)),
        torch.optim.AdamW(network.parameters(), run.lr, weight_decay=run.weight_decay, fused=True),
        monitor,
        epochs=run.epochs,
        batch_size=run.batch_size,
        seed=run.seed,
        accelerator=accelerator,
        select={rule: f"{part}_choice" for rule, part in RULES.items()},
        weights=class_draws(label[train]),
        rate=lambda epoch: (1 + math.cos(math.pi * epoch / run.epochs)) / 2,
        checkpoint=checkpoint,
        checkpoint_every_s=120,
        task=run.name,
    )

    def predictor(state: State) -> Predictor:
        def predict(inputs: Inputs, samples: torch.Tensor) -> np.ndarray:
            network.load_state_dict(state)
            return probabilities(network, inputs, samples)

        return predict

    costs = {
        "parameters": parameters(network),
        "multiply_adds": multiply_adds(network.cpu(), given.batch(train[:1]).cpu(), given.about[train[:1]]),
        "weights": pretrained,
        "epoch_of": fitted.epochs,
    }
    network.to(accelerator.device)
    return fitted.history, fitted.states["validation"], {r: predictor(fitted.states[r]) for r in RULES}, costs


def train_trees(
    run: "CompareRun", data: "Data", checkpoint: Path
) -> tuple[pd.DataFrame, State, dict[str, Predictor], dict[str, Any]]:
    """As `train_network`, for trees on statistics of the maps: they have no epochs, weights or multiply-adds."""
    given = data.inputs[run.task]
    train, label = given.samples("train"), given.label
    trees = boosting(run.seed)
    with threadpool_limits(torch.get_num_threads()):
        features, of = statistics(given.batch(train)), label[train]
        trees.fit(features, of.numpy(), sample_weight=class_draws(of).numpy())

    def predict(inputs: Inputs, samples: torch.Tensor) -> np.ndarray:
        p = np.zeros((len(samples), len(data.task.classes)))
        with threadpool_limits(torch.get_num_threads()):
            p[:, trees.classes_] = trees.predict_proba(statistics(inputs.batch(samples)))
        return p

    costs = {"parameters": None, "multiply_adds": None, "weights": "from scratch", "epoch_of": {}}
    return pd.DataFrame({"trees": [trees.n_iter_]}), {}, dict.fromkeys(RULES, predict), costs


def class_draws(label: torch.Tensor) -> torch.Tensor:
    """How often each sample (S,) is drawn: its class' count to the power BALANCE - 1, 1 on the mean."""
    weight = torch.bincount(label)[label].double() ** (BALANCE - 1)
    return weight / weight.mean()


@torch.no_grad()
def probabilities(net: nn.Module, given: Inputs, samples: torch.Tensor) -> np.ndarray:
    """Class probabilities (len(samples), n_classes) on the CPU."""
    net.eval()
    device = next(net.parameters()).device
    parts = samples.split(EVAL_BATCH)
    logits = [net(given.batch(some).to(device), given.about[some].to(device)).float().cpu() for some in parts]
    return torch.cat(logits).softmax(1).numpy()


def log_loss(frame: pd.DataFrame) -> float:
    """Mean -log p of the true class, p at least 1e-6."""
    p = frame[[c for c in frame if c[0] == "p" and c[1:].isdigit()]].to_numpy()
    return float(-np.log(p[np.arange(len(p)), frame["label"]].clip(1e-6)).mean())


def predictions(given: Inputs, part: str, p: np.ndarray) -> pd.DataFrame:
    """One row a unit of `part`: recording, patient, label, predicted, p0, p1, ...; p: of its samples, in their order.

    A unit's probability is the mean over its clips, for every model.
    """
    unit = given.unit[given.samples(part).numpy()]
    mean = pd.DataFrame(p, columns=[f"p{k}" for k in range(p.shape[1])]).groupby(unit).mean()
    about = given.units.loc[mean.index, ["recording", "patient", "label"]]
    about = about.assign(predicted=mean.to_numpy().argmax(1))
    return about.join(mean).rename_axis("unit").reset_index()
