"""The loop: the same weights however often it was stopped, in however many processes."""

import errno
import os
import subprocess
import sys
from textwrap import dedent

import pandas as pd
import pytest
import torch
from torch import nn

from lungnb import UserError
from lungnb import training as module
from lungnb.training import fit, make_accelerator
from lungnb.training.experiment import Experiment

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def loss_of(model, items, generator):
    noisy = X[items] + 0.1 * torch.randn(len(items), 6, generator=generator)  # the randomness of augmentation
    return nn.functional.cross_entropy(model(noisy), Y[items])


def accuracy(model):
    return {"accuracy": (model(X).argmax(1) == Y).float().mean().item()}


def train(model, evaluate=accuracy, n_items=50, **options):
    options = {"epochs": 6, "batch_size": 8, "seed": 3, "select": {"best": "accuracy"}} | options
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return fit(
        model,
        options.pop("loss_of", loss_of),
        n_items,
        optimizer,
        evaluate,
        accelerator=make_accelerator("cpu"),
        **options,
    )


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Trained(Experiment):
    corpus: str = "none"

    def compute(self, checkpoint):
        fitted = train(network(), epochs=1)
        return fitted.history, pd.DataFrame(), fitted.states["last"], {}


class Killed(Exception):
    pass


def killed_in(epoch):
    calls = iter(range(100))

    def evaluate(model):
        if next(calls) == epoch:
            raise Killed
        return accuracy(model)

    return evaluate


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_an_interrupted_run_ends_like_an_unbroken_one(tmp_path, epoch):
    unbroken = train(network())
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(network(), killed_in(epoch), checkpoint=checkpoint, checkpoint_every_s=0)
    assert checkpoint.exists()
    calls = []
    resumed = train(
        network(seed=9), lambda m: calls.append(1) or accuracy(m), checkpoint=checkpoint, checkpoint_every_s=0
    )
    assert len(calls) == 6 - epoch  # what was finished is not done again
    pd.testing.assert_frame_equal(resumed.history, unbroken.history)
    assert resumed.epochs == unbroken.epochs
    assert all(same(resumed.states[k], unbroken.states[k]) for k in ("best", "last"))


def test_the_seed_decides_and_leaves_other_randomness_out():
    torch.manual_seed(1)
    first = train(network()).states["last"]
    torch.rand(17)
    assert same(train(network()).states["last"], first)
    assert not same(train(network(), seed=4).states["last"], first)


def test_the_best_epoch_is_kept():
    scores = iter([0.1, 0.9, 0.3, 0.9, 0.2])
    seen = []

    def evaluate(model):
        seen.append(module._copy(model))
        return {"accuracy": next(scores)}

    fitted = train(network(), evaluate, epochs=5)
    assert fitted.epochs == {"best": 1, "last": 4}  # the first of equals
    assert same(fitted.states["best"], seen[1])
    assert same(fitted.states["last"], seen[4])
    assert not same(seen[1], seen[4])
    assert fitted.history["accuracy"].tolist() == [0.1, 0.9, 0.3, 0.9, 0.2]


def test_it_learns_and_the_loss_falls():
    history = train(network(), epochs=20).history
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]
    assert history["accuracy"].iloc[-1] > 0.8


def test_every_item_once_or_by_weight():
    seen = []

    def watch(model, items, generator):
        seen.extend(items.tolist())
        return loss_of(model, items, generator)

    train(network(), epochs=2, batch_size=10, loss_of=watch)
    assert sorted(seen[:50]) == list(range(50))
    assert seen[:50] != seen[50:]
    seen.clear()
    weights = torch.zeros(50).index_fill(0, torch.tensor([4, 7]), torch.tensor(1.0))
    train(network(), epochs=20, loss_of=watch, weights=weights)
    assert set(seen) == {4, 7}
    assert 0.4 < seen.count(4) / len(seen) < 0.6


def test_a_last_batch_of_one_item_is_no_trap():
    fitted = train(network(), n_items=17)  # 8 + 8 + 1: batch normalisation has no variance over one item
    assert fitted.history["loss"].notna().all()
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(8, 2))

    def loss_of_one(model, items, generator):
        return nn.functional.cross_entropy(model(X[items][:, None]), Y[items])

    one = train(net, lambda m: {"accuracy": 0.0}, n_items=1, loss_of=loss_of_one)
    assert one.history["loss"].iloc[-1] < one.history["loss"].iloc[0]


def test_a_loss_that_is_no_number_stops_the_run():
    factors = iter([1.0] * 14 + [float("nan")] * 99)  # seven batches an epoch
    with pytest.raises(UserError, match=r"toy: the loss became NaN in epoch 2; lower the learning rate"):
        train(network(), loss_of=lambda *a: loss_of(*a) * next(factors), task="toy")


def test_long_gradients_are_clipped_and_short_ones_are_not():
    before = module._copy(network())

    def step(**options):
        """How far the first step of plain SGD at a rate of 0.1 goes, and where it leads."""
        fitted = train(network(), epochs=1, batch_size=50, **options)
        weights = {k: v for k, v in fitted.states["last"].items() if k in dict(network().named_parameters())}
        return torch.cat([(v - before[k]).flatten() for k, v in weights.items()]).norm().item() / 0.1, weights

    far, free = step()
    assert far > 0.1
    near, clipped = step(max_grad_norm=far / 4)
    assert near == pytest.approx(far / 4, rel=1e-3)
    assert all(torch.allclose(v - before[k], (free[k] - before[k]) / 4, atol=1e-5) for k, v in clipped.items())
    assert same(step(max_grad_norm=2 * far)[1], free)


def test_a_score_that_is_never_a_number_is_said():
    with pytest.raises(UserError, match=r"toy: accuracy was no number in any epoch"):
        train(network(), lambda m: {"accuracy": float("nan")}, task="toy")


def test_a_foreign_checkpoint_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    train(network(), checkpoint=checkpoint, checkpoint_every_s=0, epochs=1)
    with pytest.raises(UserError, match=r"checkpoint.pt is no checkpoint of this run"):
        train(nn.Linear(6, 2), checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(UserError, match=r"checkpoint.pt is no checkpoint of this run"):
        train(network(), checkpoint=checkpoint)


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoint, save, left = tmp_path / "checkpoint.pt", torch.save, iter([True, True])

    def save_until_full(held, file):
        if not next(left, False):
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(held, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_until_full)
        with pytest.raises(UserError, match=r"checkpoint.pt could not be written \(No space left on device\)"):
            train(network(), checkpoint=checkpoint, checkpoint_every_s=0)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    calls = []
    resumed = train(network(), lambda m: calls.append(1) or accuracy(m), checkpoint=checkpoint)
    assert len(calls) == 4
    assert same(resumed.states["last"], train(network()).states["last"])


def test_progress_is_told_to_the_builder(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGNB_PROGRESS", str(tmp_path / "progress"))
    train(network(), epochs=2, task="toy")
    lines = pd.read_json(tmp_path / "progress", lines=True)
    assert lines[["task", "step", "steps"]].to_numpy().tolist() == [["toy", 1, 2], ["toy", 2, 2]]
    assert lines["seconds_left"].iloc[-1] == 0


def test_a_gpu_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="torch sees no GPU"):
        make_accelerator("cuda")


@pytest.mark.train
def test_two_processes_end_with_equal_weights(tmp_path):
    """Each process takes half of the items; parameters and running statistics agree at the end of every epoch."""
    (tmp_path / "two.py").write_text(
        dedent(f"""
        import sys
        sys.path.insert(0, {str(os.path.dirname(__file__))!r})
        import torch
        from test_training import accuracy, network, train
        from accelerate.state import PartialState
        seen = []
        from test_training import Trained
        fitted = train(network(), lambda m: seen.append(accuracy(m)["accuracy"]) or accuracy(m), epochs=3)
        state = PartialState()
        assert state.num_processes == 2
        assert len(Trained().history) == 1
        torch.save((fitted.states, seen, Trained().uid), {str(tmp_path)!r} + f"/{{state.process_index}}.pt")
        """)
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(tmp_path / "two.py"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, seen_first, uid = torch.load(tmp_path / "0.pt", weights_only=True)
    second, seen_second, uid_second = torch.load(tmp_path / "1.pt", weights_only=True)
    assert seen_first == seen_second
    assert uid == uid_second != Trained().uid  # as they take a batch each, the number of processes is part of the key
    assert all(same(first[rule], second[rule]) for rule in ("best", "last"))
    assert not same(first["last"], module._copy(network()))


def scripted(values):
    """An evaluation that says these numbers, one an epoch."""
    said = iter(values)
    return lambda model: {"val_loss": next(said)}


def test_patience_ends_a_training_that_finds_nothing_better():
    losses = [0.9, 0.5, 0.6, 0.7, 0.55, 0.4, 0.1]
    fitted = train(network(), scripted(losses), select={"best": "-val_loss"}, patience=3, epochs=7)
    assert fitted.history["val_loss"].tolist() == losses[:5]  # 0.5 in epoch 1, and three epochs after it
    assert fitted.epochs == {"best": 1, "last": 4}
    patient = train(network(), scripted(losses), select={"best": "-val_loss"}, patience=4, epochs=7)
    assert patient.epochs == {"best": 6, "last": 6}


def test_patience_survives_a_restart(tmp_path):
    losses, checkpoint = [0.9, 0.5, 0.6, 0.7, 0.8, 0.9], tmp_path / "checkpoint.pt"
    options = {"select": {"best": "-val_loss"}, "patience": 3, "checkpoint": checkpoint, "checkpoint_every_s": 0}
    train(network(), scripted(losses), epochs=3, **options)
    fitted = train(network(), scripted(losses[3:]), epochs=6, **options)
    assert fitted.history["val_loss"].tolist() == losses[:5]
