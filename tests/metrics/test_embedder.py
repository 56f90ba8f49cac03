"""VGGish's front end against its definition, its layout, and folders of weights that are fit and unfit."""

import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lungnb.core import UserError
from lungnb.metrics.embedder import VGGish, VGGishLogMel, embed, load_vggish
from lungnb.metrics.fidelity import frechet_distance

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
