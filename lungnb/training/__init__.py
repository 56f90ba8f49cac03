"""One training loop for all papers: accelerate underneath, an epoch reproducible by its number, resumable, visible.

Every epoch seeds its own random numbers from (seed, epoch). So a run that was killed and resumed gives the same weights as
one that was not, and nothing about the order of earlier epochs has to be stored.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import nn
from tqdm import tqdm

from lungnb.core import UserError, atomic_file

State = dict[str, torch.Tensor]


@dataclass
class Fitted:
    """What `fit` leaves: a row of `history` per epoch, and for each rule of selection the weights and their epoch."""

    history: pd.DataFrame
    states: dict[str, State]
    epochs: dict[str, int]


@dataclass
class _Progress:
    epoch: int = 0
    history: list[dict] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)


def make_accelerator(device: str = "auto", precision: str = "float32") -> Accelerator:
    """An Accelerator on `device`: "cpu", "cuda", or "auto" for the GPU if torch sees one, else the CPU (never Apple's "mps",
    which lacks float64); under `accelerate launch` it spans all processes. A CPU without bfloat16 trains in float32, and says so.

    Raises UserError for another device, and for a GPU that is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(
            f"There is no device {device!r}; known are auto, cpu and cuda: choose one of several GPUs by CUDA_VISIBLE_DEVICES."
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device='cuda' was asked for but torch sees no GPU; use device='auto' or 'cpu'.")
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if precision == "bf16" and kind == "cpu" and not _has_bfloat16():
        warnings.warn(
            "This CPU has no bfloat16; the training runs in float32, which is many times faster here.", stacklevel=2
        )
        precision = "float32"
    # What accelerate remembers of an earlier training in this process would else decide the device.
    kept = PartialState._shared_state
    other = bool(kept) and kept["device"].type != kind and kept.get("num_processes", 1) == 1
    AcceleratorState._reset_state(reset_partial_state=other)
    return Accelerator(cpu=kind == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")


def _has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself. On one that does not a VAE took 30 times as long as in float32."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fit(
    model: nn.Module,
    loss_of: Callable[[nn.Module, torch.Tensor, torch.Generator], torch.Tensor],
    n_items: int | Sequence[int],
    optimizer: torch.optim.Optimizer,
    evaluate: Callable[[nn.Module], dict[str, float]],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    accelerator: Accelerator,
    select: dict[str, str] | None = None,
    patience: int | None = None,
    weights: torch.Tensor | None = None,
    rate: Callable[[int], float] = lambda epoch: 1.0,
    max_grad_norm: float | None = None,
    checkpoint: Path | None = None,
    checkpoint_every_s: float = 20,
    task: str = "training",
) -> Fitted:
    """Train `model` for `epochs`, each of `n_items` draws (or of n_items[epoch]), and keep the weights that each rule selects.

    loss_of(model, items, generator): mean loss of the items with these indices; random choices come from `generator`, which
    is on the device. evaluate(model): numbers for the history, once an epoch. batch_size: of each process, so a step of n
    processes is over n times as many. select: rule -> name of the number it maximises, or minimises with a minus before it;
    the rule "last" is always kept. patience: the training ends early when no rule has found a better epoch for so many.
    weights: (n_items,) draws with replacement in proportion to them, else a permutation. rate(epoch): factor on the learning
    rate. max_grad_norm: longer gradients are clipped to it.
    Raises UserError if the loss stops being a number, a rule finds no number to select by, or the checkpoint is of another
    model.
    """
    select = select or {}
    model, optimizer = accelerator.prepare(model, optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    progress = _resume(checkpoint, accelerator.unwrap_model(model), optimizer)
    saved = started = time.monotonic()
    first = progress.epoch
    bar = tqdm(total=epochs, initial=first, desc=task, leave=False, disable="LUNGNB_PROGRESS" in os.environ)
    patience = epochs if patience is None else patience
    while progress.epoch < epochs and progress.epoch <= max(progress.epochs.values(), default=0) + patience:
        epoch = progress.epoch
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr * rate(epoch)
        n_draws = n_items if isinstance(n_items, int) else n_items[epoch]
        loss = _train_epoch(
            model, loss_of, n_draws, optimizer, batch_size, seed, epoch, accelerator, weights, max_grad_norm
        )
        if loss != loss:
            raise UserError(f"{task}: the loss became NaN in epoch {epoch}; lower the learning rate or use float32.")
        if accelerator.num_processes > 1:  # each process has seen its own share; all go on with the mean
            for buffer in accelerator.unwrap_model(model).buffers():
                if buffer.is_floating_point():
                    buffer.copy_(accelerator.reduce(buffer, "mean"))
        model.eval()
        with torch.no_grad():
            row = {"epoch": epoch, "loss": loss, **evaluate(accelerator.unwrap_model(model))}
        progress.history.append(row)
        for rule, name in select.items():
            value = -row[name[1:]] if name.startswith("-") else row[name]
            if value > progress.best.get(rule, -float("inf")):
                progress.best[rule], progress.epochs[rule] = value, epoch
                progress.states[rule] = _copy(accelerator.unwrap_model(model))
        progress.epoch += 1
        left = (time.monotonic() - started) / (progress.epoch - first) * (epochs - progress.epoch)
        tell_progress(task, progress.epoch, epochs, left)
        bar.update()
        if checkpoint and time.monotonic() - saved >= checkpoint_every_s and accelerator.is_main_process:
            _save(checkpoint, progress, accelerator.unwrap_model(model), optimizer)
            saved = time.monotonic()
    bar.close()
    for rule, name in select.items():
        if rule not in progress.states:
            raise UserError(
                f"{task}: {name.removeprefix('-')} was no number in any epoch (a class without events?), so no epoch can be "
                "selected by it; use selection='last' or another split."
            )
    progress.states["last"] = _copy(accelerator.unwrap_model(model))
    progress.epochs["last"] = progress.epoch - 1
    return Fitted(pd.DataFrame(progress.history), progress.states, progress.epochs)


def _train_epoch(
    model, loss_of, n_items, optimizer, batch_size, seed, epoch, accelerator, weights, max_grad_norm
) -> float:
    model.train()
    own = _mix(seed, epoch, accelerator.process_index)
    torch.manual_seed(own)  # dropout
    generator = torch.Generator(accelerator.device).manual_seed(own)
    # All processes draw the same order and take their share.
    shared = torch.Generator().manual_seed(_mix(seed, epoch, 0))
    if weights is None:
        order = torch.randperm(n_items, generator=shared)
    else:
        order = torch.multinomial(weights.double().cpu(), n_items, replacement=True, generator=shared)
    share = len(order) // accelerator.num_processes
    order = order[accelerator.process_index :: accelerator.num_processes][:share].to(accelerator.device)
    losses = []
    for items in order.split(batch_size):
        if len(items) == 1 and len(order) > 1:
            continue  # batch normalisation has no variance over one item
        optimizer.zero_grad(set_to_none=True)
        with accelerator.autocast():
            loss = loss_of(model, items, generator)
        accelerator.backward(loss)
        if max_grad_norm:
            accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        losses.append(loss.detach())
    return accelerator.reduce(torch.stack(losses).mean(), "mean").item()


def tell_progress(task: str, step: int, steps: int, seconds_left: float) -> None:
    """Append one line to the file named by LUNGNB_PROGRESS, from which the builder shows how far a training is."""
    if path := os.environ.get("LUNGNB_PROGRESS"):
        with open(path, "a") as handle:
            handle.write(json.dumps({"task": task, "step": step, "steps": steps, "seconds_left": seconds_left}) + "\n")


def _mix(seed: int, epoch: int, process: int) -> int:
    return (seed * 1_000_003 + epoch) * 1_009 + process


def _copy(model: nn.Module) -> State:
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}


def _save(path: Path, progress: _Progress, model: nn.Module, optimizer) -> None:
    held = {"progress": vars(progress), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with (
        atomic_file(path) as temporary,
        temporary.open("wb") as file,
    ):  # given a path, torch hides that the disk is full
        torch.save(held, file)


def _resume(path: Path | None, model: nn.Module, optimizer) -> _Progress:
    if path is None or not path.exists():
        return _Progress()
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"{path} is no checkpoint of this run ({why}); remove it to start the run again.") from error
    return _Progress(**held["progress"])
