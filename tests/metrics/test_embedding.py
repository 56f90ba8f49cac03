"""VGGish against its definition, folders of weights that are fit and unfit, and copies of training clips that must be found."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.distance import cdist

from lungnb.core import UserError
from lungnb.metrics.embedding import (
    HELD_OUT,
    VGGish,
    VGGishLogMel,
    cell_means,
    duplicates,
    embed,
    load_vggish,
    nearest_training,
)
from lungnb.metrics.generation import frechet_distance

RATE = 16000


def noise(n_clips=2, seconds=2.0, seed=0):
    return 0.1 * torch.randn(n_clips, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return VGGish(width=2, hidden=8, dims=16).eval()


def test_the_log_mel_is_the_definitions():
    clip = noise(1, 1.3)[0].double().numpy()

    def mel(hz):
        return 1127 * math.log(1 + hz / 700)

    corners = [mel(125) + (mel(7500) - mel(125)) * k / 65 for k in range(66)]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 400) for i in range(400)]
    expected = np.zeros((96, 64))
    for f in range(96):
        frame = np.r_[clip[160 * f : 160 * f + 400] * window, np.zeros(112)]
        magnitude = np.abs(np.fft.rfft(frame))
        for k in range(64):
            low, mid, high = corners[k : k + 3]
            total = 0.0
            for i in range(1, 257):
                at = mel(i * RATE / 512)
                total += magnitude[i] * max(0.0, min((at - low) / (mid - low), (high - at) / (high - mid)))
            expected[f, k] = math.log(total + 0.01)
    got = VGGishLogMel()(torch.from_numpy(clip).float()[None])
    assert got.shape == (1, 1, 96, 64)
    assert np.allclose(got[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("seconds", "windows"), [(0.1, 2), (1.0, 2), (2.0, 2), (2.9, 3), (5.12, 5), (10.0, 10)])
def test_windows_of_a_clip(small, seconds, windows):
    """Frames are 1 + (T - 400) // 160, windows are of 96, clips last 2 s at least."""
    with torch.no_grad():
        assert small(noise(3, seconds)).shape == (3, windows, 16)


def test_the_mean_is_removed_and_short_clips_are_padded(small):
    with torch.no_grad():
        short = noise(2, 0.7)
        centred = short - short.mean(dim=1, keepdim=True)
        padded = torch.cat([centred, torch.zeros(2, 2 * RATE - short.shape[1])], dim=1)
        assert torch.allclose(small(short), small(short + 0.3), atol=1e-5)
        assert torch.allclose(small(short), small(padded), atol=1e-4)  # its own mean is zero already


def test_clips_and_windows_do_not_mix(small):
    clips = noise(3, 4.0)
    with torch.no_grad():
        whole = small(clips)
        alone = torch.cat([small(clip[None]) for clip in clips])
    assert torch.allclose(whole, alone, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1])
    assert np.allclose(embed(small, clips, batch=2), whole.numpy(), atol=1e-5)


def test_maps_are_flattened_channels_last(small):
    """The published linear layer expects (rows, columns, channels); the last layer has no ReLU."""
    clip = noise(1)
    with torch.no_grad():
        window = small.log_mel(clip - clip.mean(dim=1, keepdim=True))[:, 0]
        maps = small.features(window[None])[0].numpy()  # channels, rows, columns
        flat = np.array([maps[c, r, k] for r in range(6) for k in range(4) for c in range(16)], dtype=np.float32)
        expected = small.embeddings(torch.from_numpy(flat))
        got = small(clip)[0, 0]
    assert torch.allclose(got, expected, atol=1e-5)
    assert (got < 0).any()


def test_the_published_size():
    with torch.device("meta"):
        net = VGGish()
    assert sum(p.numel() for p in net.parameters()) == 72_141_184
    assert net.state_dict()["features.13.weight"].shape == (512, 512, 3, 3)
    assert net.state_dict()["embeddings.0.weight"].shape == (4096, 12288)
    assert net.state_dict()["embeddings.4.bias"].shape == (128,)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt"])
def test_weights_from_a_folder(small, tmp_path, suffix):
    state = dict(small.state_dict()) | {"pproc.pca_means": torch.zeros(3)}
    if suffix == "safetensors":
        save_file(state, tmp_path / "vggish.safetensors")
    else:
        torch.save(state, tmp_path / f"vggish.{suffix}")
    loaded = load_vggish(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(noise()), small(noise()))
    assert not any(p.requires_grad for p in loaded.parameters())


class Runs:
    """What a pickle could do on loading."""

    def __reduce__(self):
        return (print, ("this ran",))


def spoil(folder, how, state):
    if how == "two files":
        for name in "ab":
            save_file(state, folder / f"{name}.safetensors")
    elif how == "code":
        (folder / "vggish.pth").write_bytes(pickle.dumps(Runs(), protocol=2))
    elif how == "zipped code":
        torch.save({"features.0.bias": Runs()}, folder / "vggish.pth")
    elif how == "a list":
        torch.save([1, 2], folder / "vggish.pt")
    elif how == "torn":
        save_file(state, folder / "vggish.safetensors")
        (folder / "vggish.safetensors").write_bytes((folder / "vggish.safetensors").read_bytes()[:-100])
    elif how == "other keys":
        save_file({f"net.{k}": v for k, v in state.items()}, folder / "vggish.safetensors")
    elif how == "one key missing":
        save_file({k: v for k, v in state.items() if k != "features.3.weight"}, folder / "vggish.safetensors")
    elif how == "other shapes":
        save_file(state | {"features.6.weight": torch.zeros(8, 8, 3, 3)}, folder / "vggish.safetensors")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("empty", "holds 0 files of weights"),
        ("two files", "holds 2 files of weights"),
        ("code", "no file of tensors alone"),
        ("zipped code", "no file of tensors alone"),
        ("a list", "not a state dict"),
        ("torn", "no file of tensors alone"),
        ("other keys", "does not hold VGGish"),
        ("one key missing", "does not hold VGGish"),
        ("other shapes", "does not hold VGGish"),
    ],
)
def test_unfit_weights_are_one_sentence(small, tmp_path, capsys, how, sentence):
    spoil(tmp_path, how, dict(small.state_dict()))
    with pytest.raises(UserError, match=sentence) as caught:
        load_vggish(tmp_path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert "this ran" not in capsys.readouterr().out


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"nowhere holds 0 files of weights .* put it there"):
        load_vggish(tmp_path / "nowhere")


class Levels:
    """Any other embedder: the level of each second, at 16 kHz."""

    name, sample_rate = "levels", RATE

    def __call__(self, waveform):
        return waveform.unfold(1, RATE, RATE).unflatten(2, (4, -1)).std(dim=3).log()


def test_another_embedder_takes_the_same_way():
    quiet, loud = (embed(Levels(), scale * noise(40, 3.0, seed)) for scale, seed in ((1, 0), (2, 1)))
    assert quiet.shape == (40, 3, 4)
    distance = frechet_distance(quiet.reshape(-1, 4), loud.reshape(-1, 4))
    assert distance == pytest.approx(4 * math.log(2) ** 2, rel=0.05)


# ---- memorisation


def mels(seed, n, dims=48):
    return np.random.default_rng(seed).normal(-5, 2, (n, dims)).astype(np.float32)


def test_duplicates_point_to_the_first():
    clips = mels(0, 30)
    clips[[7, 12, 29]] = clips[3]
    clips[20] = clips[5] + 5e-4  # nearly the same
    clips[21] = clips[6] + 5e-2
    expected = np.arange(30)
    expected[[7, 12, 29]], expected[20] = 3, 5
    assert duplicates(clips).tolist() == expected.tolist()
    assert duplicates(clips, tolerance=0.1)[21] == 6
    chain = clips[:1] + np.array([0, 8e-4, 16e-4])[:, None]  # each is the same as the next
    assert duplicates(chain).tolist() == [0, 0, 0]
    many = np.concatenate([mels(1, 1500), mels(1, 1500)])  # past one block
    assert duplicates(many).tolist() == [*range(1500), *range(1500)]


def test_nearest_training_is_the_naive_search():
    training, generated, held_out = mels(0, 80), mels(1, 20), mels(2, 15)
    training[60] = training[10]
    generated[4] = training[60]
    generated[5] = training[33] + 0.01
    got = nearest_training(training, held_out, {"generated": generated})
    far = np.sqrt(np.square(np.r_[generated, held_out][:, None] - training).mean(axis=2))
    assert got["clips"].tolist() == ["generated"] * 20 + ["held-out"] * 15
    assert np.allclose(got["distance"], far.min(axis=1), atol=1e-6)
    assert got["nearest"].tolist() == far.argmin(axis=1).tolist()  # the first of equals
    assert got.loc[4, ["distance", "nearest", "ratio"]].tolist() == [0, 10, 0]
    assert got.loc[5, "distance"] == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(UserError, match=r"held-out clips have shape \(47,\), training \(48,\); embed both alike"):
        nearest_training(training, held_out[:, 1:], {})


def test_the_search_takes_memory_for_blocks_only():
    """4,000 by 4,000 distances would be 128 MB."""
    training, generated = mels(0, 4000, 16), mels(1, 4000, 16)
    nearest_training(training[:50], generated[:50], {})  # libraries load
    tracemalloc.start()
    got = nearest_training(training, generated[:100], {"generated": generated})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert np.allclose(got["distance"][:100], cdist(generated[:100], training).min(axis=1) / 4, atol=1e-5)


def test_copies_are_found_and_strangers_are_not():
    rng = np.random.default_rng(0)
    training, held_out, others = (rng.standard_normal((200, 16)) for _ in range(3))
    sets = {"copies": training[:50] + 0.01, "others": others}
    near = nearest_training(training, held_out, sets)
    copies = near[near["clips"] == "copies"]
    assert copies["nearest"].tolist() == copies["place"].tolist() == list(range(50))
    assert copies["distance"].to_numpy() == pytest.approx(0.01)
    assert near["clips"].value_counts().to_dict() == {"copies": 50, "others": 200, HELD_OUT: 200}
    brute = np.sqrt(np.square(others[7] - training).mean(1))
    assert near[near["clips"] == "others"]["distance"].iloc[7] == pytest.approx(brute.min())
    second = np.sort(brute)[1]
    assert near[near["clips"] == "others"]["ratio"].iloc[7] == pytest.approx(brute.min() / second)


def test_copies_that_are_moved_as_a_whole_still_stand_out():
    """As by the blur of a decoder: they are farther from training than strangers, and yet found."""
    rng = np.random.default_rng(0)
    training, held_out = (np.pad(rng.standard_normal((300, 16)), ((0, 0), (0, 1))) for _ in range(2))
    moved = training[:50] + np.eye(17)[16] * 4
    near = nearest_training(training, held_out, {"copies": moved})
    copies, strangers = (near[near["clips"] == name] for name in ("copies", HELD_OUT))
    assert (copies["distance"] > np.percentile(strangers["distance"], 5)).all()
    assert (copies["ratio"] < np.percentile(strangers["ratio"], 5)).mean() > 0.5


def test_a_clip_that_is_twice_in_training_counts_once():
    rng = np.random.default_rng(0)
    training = rng.standard_normal((20, 8))
    near = nearest_training(np.concatenate([training, training]), training + 9, {"copies": training + 0.01})
    copies = near[near["clips"] == "copies"]
    assert copies["nearest"].tolist() == list(range(20))
    assert (copies["ratio"] < 0.1).all()


def test_cell_means_are_of_four_bands_and_four_frames():
    log_mel = torch.randn(300, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    cells = cell_means(log_mel)
    assert cells.shape == (300, 16 * 16)
    assert cells[270, 17] == pytest.approx(log_mel[270, 0, 4:8, 4:8].mean().item(), abs=1e-6)
