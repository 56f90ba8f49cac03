"""RespireNet's network: its size, its shapes, and honest words about its first weights."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from lungnb import UserError
from lungnb.papers.respirenet import BACKBONES, RespireNet, load_imagenet


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_size_and_feature_map_of_the_paper():
    model = RespireNet(4).eval()
    assert parameters(model) == 21_367_364
    assert parameters(RespireNet(2)) == 21_367_364 - 2 * 129
    maps = {}
    model.trunk.layer4.register_forward_hook(lambda m, i, out: maps.update(last=out.shape))
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 192, 753))
    assert maps["last"] == (1, 512, 6, 24)
    assert logits.shape == (1, 4)


@pytest.mark.parametrize(("backbone", "builder"), [("resnet34", "resnet34"), ("resnet18", "resnet18")])
def test_trunk_is_torchvisions(backbone, builder):
    reference = getattr(torchvision.models, builder)(weights=None)
    model = RespireNet(4, backbone)
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in model.trunk.state_dict().items()} == {k: v.shape for k, v in state.items()}
    model.trunk.load_state_dict(state)
    reference.fc = torch.nn.Identity()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(model.trunk.eval()(image), reference.eval()(image), atol=1e-4)


def test_narrow_backbone_is_small_and_trains():
    model = RespireNet(4, "resnet10-narrow")
    assert parameters(model) < parameters(RespireNet(4, "resnet18")) / 10
    model(torch.randn(2, 3, 64, 100)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_dropout_is_where_the_code_has_it():
    rates = [m.p for m in RespireNet(4, "resnet10-narrow", dropout=0.3).head if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.3, 0.3]
    model = RespireNet(4, "resnet10-narrow").train()
    image = torch.randn(2, 3, 64, 64)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


def weights(backbone="resnet18", seed=1):
    torch.manual_seed(seed)
    return getattr(torchvision.models, backbone)(weights=None).state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("as_folder", [True, False])
def test_weights_from_a_folder_or_file_change_the_trunk(tmp_path, suffix, as_folder):
    file, state = tmp_path / f"resnet18-f37072fd{suffix}", weights()
    torch.save(state, file) if suffix == ".pth" else save_file(state, file)
    model = RespireNet(4, "resnet18")
    head = model.head[1].weight.clone()
    assert load_imagenet(model, str(tmp_path if as_folder else file)) == "ImageNet"
    assert torch.equal(model.trunk.conv1.weight, state["conv1.weight"])
    assert torch.equal(model.trunk.layer4[1].bn2.running_var, state["layer4.1.bn2.running_var"])
    assert torch.equal(model.head[1].weight, head)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(weights("resnet34"), tmp_path / "resnet34.pth")
    model = RespireNet(4, "resnet18")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError, match="not those of this backbone"):
        load_imagenet(model, str(tmp_path))
    less = {k: v for k, v in weights().items() if not k.startswith("layer4")}
    torch.save(less, tmp_path / "resnet10.pth")
    with pytest.raises(UserError, match="not those of this backbone"):
        load_imagenet(model, str(tmp_path / "resnet10.pth"))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if not k.startswith("trunk"))


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"resnet34\*\.pth, or pretrained='scratch'"):
        load_imagenet(RespireNet(4, "resnet18"), str(tmp_path))


@pytest.mark.parametrize("error", [URLError("no route"), TimeoutError("too slow"), PermissionError("read-only")])
def test_without_a_network_it_says_from_scratch(monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refuse)
    model = RespireNet(4, "resnet34")
    assert load_imagenet(model, "imagenet or scratch") == "from scratch (ImageNet weights could not be downloaded)"
    with pytest.raises(UserError, match="ImageNet weights could not be had from 'imagenet'"):
        load_imagenet(model, "imagenet")


def test_scratch_never_asks(monkeypatch):
    monkeypatch.setattr(torchvision.models, "get_weight", None)
    assert [load_imagenet(RespireNet(4, b), "scratch") for b in BACKBONES] == ["from scratch"] * 3
