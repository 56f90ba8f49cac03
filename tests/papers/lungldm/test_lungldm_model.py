"""The gated VAE and U-Net against the plain classes of diffusers, their sizes, and all that training asks of them."""

import copy

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional
from transformers import T5Config, T5EncoderModel

from lungnb.core import UserError
from lungnb.papers.lungldm.frontend import hifigan
from lungnb.papers.lungldm.networks import PRESETS, LungUNet, LungVAE, unet_options, vae_options
from lungnb.papers.lungldm.text import TINY_T5

VAE, UNET = PRESETS["smoke"]["vae"], PRESETS["smoke"]["unet"]
PLAIN_VAE = {k: v for k, v in VAE.items() if k != "se_reduction"}
KINDS = [("vae", {}), ("unet", {"gate": "se"}), ("unet", {"gate": "static"})]
PAPER = (128, 192, 320, 416)


def count(model):
    return sum(p.numel() for p in model.parameters())


def on_meta(make, **options):
    """Full size without the memory for it."""
    with torch.device("meta"):
        return count(make(**options))


def gated(kind, options, seed=0):
    torch.manual_seed(seed)
    return LungVAE(**VAE) if kind == "vae" else LungUNet(**UNET | options)


def shaken(model, seed=1):
    """With gates that no longer are the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.gates.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return model


def run(model, seed=2):
    draw = torch.Generator().manual_seed(seed)
    if isinstance(model, AutoencoderKL):
        mel = torch.randn(2, 1, 64, 64, generator=draw)
        latents = model.encode(mel).latent_dist.mean
        return torch.cat([latents.flatten(1), model.decode(latents).sample.flatten(1)], dim=1)
    latents = torch.randn(2, 8, 16, 16, generator=draw)
    text, mask = torch.randn(2, 5, 64, generator=draw), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return model(latents, torch.tensor([10, 900]), text, encoder_attention_mask=mask).sample


def options_of(model):
    return {k: list(v) if isinstance(v, tuple) else v for k, v in model.config.items() if not k.startswith("_")}


def plain_of(model):
    parent, options = (AutoencoderKL, PLAIN_VAE) if isinstance(model, LungVAE) else (UNet2DConditionModel, UNET)
    torch.manual_seed(0)
    return parent(**options).eval()


def test_sizes_of_the_smoke_preset():
    vae, unet = on_meta(LungVAE, **VAE), on_meta(LungUNet, **UNET)
    text = on_meta(T5EncoderModel, config=T5Config(**TINY_T5))
    vocoder = on_meta(hifigan, **PRESETS["smoke"]["vocoder"])
    assert (vae, unet, text, vocoder) == (170_441, 263_884, 98_752, 38_831)
    assert vae + unet + text + vocoder == 571_908
    assert vae - on_meta(LungVAE, **VAE, se=False) == 1_880
    assert unet - on_meta(LungUNet, **UNET, gate="none") == 1_172


def projected(width):
    return {"encoder_hid_dim": width, "encoder_hid_dim_type": "text_proj"}


@pytest.mark.parametrize(
    ("options", "without", "with_gates"),
    [
        (PRESETS["paper"]["unet"], 96_052_232, 96_158_726),
        (unet_options(PAPER, 768, **projected(512)), 96_446_216, 96_552_710),
        (unet_options(PAPER, 768, **projected(1024)), 96_839_432, 96_945_926),
        (unet_options((96, 192, 288, 448), 768), 97_080_008, 97_190_180),
        (unet_options((128, 256, 384, 512), 1024, layers_per_block=1), 96_485_128, 96_644_040),
    ],
    ids=["paper", "flan-t5-small", "flan-t5-large", "96 wide", "one block"],
)
def test_sizes_of_the_unets_of_the_sheet(options, without, with_gates):
    assert on_meta(LungUNet, **options) == with_gates
    assert on_meta(LungUNet, **options, gate="none") == on_meta(UNet2DConditionModel, **options) == without
    assert (
        on_meta(LungUNet, **options, gate="static")
        == without + 2 * sum(options["block_out_channels"]) + options["block_out_channels"][-1]
    )


@pytest.mark.parametrize(
    ("widths", "without", "with_se"),
    [((128, 256, 512), 55_376_873, 55_531_417), ((64, 128, 256), 13_885_097, 13_924_481)],
)
def test_sizes_of_the_vaes_of_the_sheet(widths, without, with_se):
    options = vae_options(widths)
    assert on_meta(LungVAE, **options) == with_se
    assert on_meta(LungVAE, **options, se=False) == on_meta(AutoencoderKL, **options) == without


def test_sizes_of_the_vocoders_of_the_sheet():
    assert round(on_meta(hifigan) / 1e6, 2) == 55.26
    assert round(on_meta(hifigan, **PRESETS["laptop"]["vocoder"]) / 1e6, 2) == 0.92


def test_heads_of_the_paper_preset_are_32_wide():
    options = PRESETS["paper"]["unet"]
    assert options["attention_head_dim"] == [4, 6, 10, 13]
    with torch.device("meta"):
        unet = LungUNet(**options)
    attention = [m for m in unet.modules() if type(m).__name__ == "Attention"]
    assert {m.inner_dim // m.heads for m in attention} == {32}


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_the_start_is_the_plain_model(kind, options):
    plain = plain_of(gated(kind, options))
    model = type(gated(kind, options)).from_plain(plain, **(options or {"se_reduction": 4}))
    assert torch.allclose(run(model), run(plain), atol=1e-6)
    assert not torch.allclose(run(shaken(model)), run(plain), atol=1e-2)
    own, parents = set(model.state_dict()), set(plain.state_dict())
    assert parents < own
    assert all(key.startswith("gates.") for key in own - parents)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_a_plain_checkpoint_starts_a_gated_model(kind, options, tmp_path):
    plain = plain_of(gated(kind, options))
    plain.save_pretrained(tmp_path)
    model = type(gated(kind, options)).from_plain(type(plain).from_pretrained(tmp_path), **options)
    assert len(model.gates) > 0
    assert torch.allclose(run(model), run(plain), atol=1e-6)


def by_hand(gate, h):
    """2 sigmoid(W2 silu(W1 mean)) from the weights alone."""
    w = gate.state_dict()
    if "logit" in w:
        logits = w["logit"]
    else:
        hidden = h.mean(dim=(2, 3)) @ w["squeeze.weight"].T + w["squeeze.bias"]
        logits = (hidden / (1 + (-hidden).exp())) @ w["excite.weight"].T + w["excite.bias"]
    return h * (2 / (1 + (-logits).exp()))[:, :, None, None]


@torch.no_grad()
def test_se_sits_on_the_residual_branch_after_the_second_convolution():
    vae = shaken(gated("vae", {})).eval()
    blocks = [block for part in (*vae.encoder.down_blocks, vae.encoder.mid_block) for block in part.resnets]
    assert len(blocks) == len(vae.gates) == 5
    for block, gate in zip(blocks, vae.gates, strict=True):
        x = torch.randn(2, block.in_channels, 8, 8)
        h = functional.conv2d(functional.silu(block.norm1(x)), block.conv1.weight, block.conv1.bias, padding=1)
        h = functional.conv2d(functional.silu(block.norm2(h)), block.conv2.weight, block.conv2.bias, padding=1)
        shortcut = block.conv_shortcut(x) if block.in_channels != block.out_channels else x
        assert torch.allclose(block(x, None), shortcut + by_hand(gate, h), atol=1e-5)


def test_the_decoder_has_no_gates():
    vae = gated("vae", {})
    assert not any(m._forward_hooks for m in vae.decoder.modules())


@pytest.mark.parametrize("gate", ["se", "static"])
@torch.no_grad()
def test_a_gate_follows_every_block_of_the_unet_and_scales_its_skip(gate):
    unet = shaken(gated("unet", {"gate": gate})).eval()
    seen, before, after = [unet.down_blocks[0], unet.down_blocks[1], unet.mid_block, *unet.up_blocks], [], []
    for block in seen:
        block._forward_hooks.clear()
        block.register_forward_hook(lambda block, inputs, output: before.append(output))
        block.register_forward_hook(unet.gates[seen.index(block)])
        block.register_forward_hook(lambda block, inputs, output: after.append(output))
    skips_of_up = []
    for block in unet.up_blocks:
        block.register_forward_pre_hook(
            lambda block, inputs, named: skips_of_up.extend(named["res_hidden_states_tuple"]), with_kwargs=True
        )
    by_capture = run(unet)
    again = shaken(gated("unet", {"gate": gate})).eval()
    assert torch.equal(by_capture, run(again))  # the hooks above are those of the constructor
    for k, (raw, scaled) in enumerate(zip(before, after, strict=True)):
        is_down = k < len(unet.down_blocks)
        h, out = (raw[0], scaled[0]) if is_down else (raw, scaled)
        assert torch.allclose(out, by_hand(unet.gates[k], h), atol=1e-5)
        if is_down:
            assert raw[1][-1] is raw[0]
            assert scaled[1][-1] is scaled[0]
            assert all(a is b for a, b in zip(raw[1][:-1], scaled[1][:-1], strict=True))
            assert any(skip is scaled[0] for skip in skips_of_up)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_saved_and_loaded(kind, options, tmp_path):
    model = shaken(gated(kind, options)).eval()
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again = type(model).from_pretrained(tmp_path)
    assert options_of(again) == options_of(model)
    assert torch.equal(run(again), run(model))


def test_the_config_keeps_the_parents_options_and_ours():
    unet, vae = gated("unet", {"gate": "static"}), gated("vae", {})
    for model, own in ((unet, {"gate", "gate_reduction"}), (vae, {"se", "se_reduction"})):
        assert set(options_of(model)) - set(options_of(plain_of(model))) == own
        assert {k: options_of(model)[k] for k in options_of(plain_of(model))} == options_of(plain_of(model))
    assert (unet.config.gate, unet.config.cross_attention_dim, vae.config.se_reduction) == ("static", 64, 4)


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_a_deep_copy_has_gates_of_its_own(kind, options):
    model = shaken(gated(kind, options)).eval()
    before, twin = run(model), copy.deepcopy(model)
    assert torch.equal(run(twin), before)
    shaken(twin, seed=9)
    assert not torch.allclose(run(twin), before, atol=1e-3)
    assert torch.equal(run(model), before)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_every_weight_learns(kind, options):
    model = gated(kind, options).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(2):
        optimizer.zero_grad()
        run(model).square().sum().backward()
        still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        # W2 = 0 hides W1 from the first gradient, and from no later one
        expected = {name for name, _ in model.named_parameters() if "squeeze" in name} if step == 0 else set()
        assert still == expected
        optimizer.step()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_gradient_checkpointing_changes_nothing(kind, options):
    grads = []
    for checkpointing in (False, True):
        model = shaken(gated(kind, options)).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        run(model).square().sum().backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    scale = max(g.abs().max() for g in grads[0].values())
    assert all(torch.allclose(grads[0][name], grads[1][name], atol=1e-5 * scale) for name in grads[0])


def test_an_unknown_gate_is_refused():
    with pytest.raises(UserError, match="choose none, static or se"):
        LungUNet(**UNET, gate="sigmoid")
