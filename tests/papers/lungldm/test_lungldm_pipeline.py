"""The whole of LungLDM: sampling against formulas written out, seeds, saving and loading, and what is refused."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file, save_file

from lungnb.core import UserError
from lungnb.papers.lungldm.frontend import LungMel, hifigan, to_waveform
from lungnb.papers.lungldm.networks import PRESETS, LungUNet, LungVAE
from lungnb.papers.lungldm.pipeline import LungLDMPipeline, make_scheduler, slerp
from lungnb.papers.lungldm.text import encode, tiny_text_encoder

SMOKE, PROMPT = PRESETS["smoke"], "A person is coughing, male, 40s, smoker"
ALPHA = (1 - torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


def make(sampler="ddim", prediction="epsilon", vocoder=True):
    torch.manual_seed(0)
    mel, vae, unet = LungMel(), LungVAE(**SMOKE["vae"] | {"scaling_factor": 0.7}), LungUNet(**SMOKE["unet"])
    mel.mean.fill_(-4.0)
    mel.std.fill_(2.0)
    with torch.no_grad():
        for p in [*vae.gates.parameters(), *unet.gates.parameters()]:
            p.add_(torch.randn(p.shape))
    encoder, tokenizer = tiny_text_encoder([PROMPT, "breathing, female"])
    pipeline = LungLDMPipeline(
        mel,
        vae,
        unet,
        encoder,
        tokenizer,
        make_scheduler(sampler, prediction),
        hifigan(**SMOKE["vocoder"]) if vocoder else None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline, prompt=PROMPT, seed=0, steps=3, **options):
    return pipeline(prompt, seconds=0.64, steps=steps, generator=torch.Generator().manual_seed(seed), **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    make().save_pretrained(folder)
    return folder


@pytest.fixture
def broken(saved, tmp_path):
    """A copy of the folder to break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_the_noise_schedule_is_linear_in_square_roots():
    for sampler in ("ddim", "dpm"):
        assert torch.allclose(make_scheduler(sampler).alphas_cumprod.double(), ALPHA, rtol=1e-4)
    scheduler = make_scheduler()
    scheduler.set_timesteps(200)
    assert scheduler.timesteps[[0, -1]].tolist() == [996, 1]  # steps_offset 1
    assert not scheduler.config.clip_sample
    assert make_scheduler("dpm").config.algorithm_type == "dpmsolver++"
    with pytest.raises(UserError, match="choose ddim or dpm"):
        make_scheduler("euler")


@torch.no_grad()
def test_a_call_is_ddim_with_guidance_written_by_hand():
    pipeline, latents = make(), torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    out = pipeline(PROMPT, seconds=0.64, steps=4, guidance_scale=3.5, latents=latents)
    text, mask = encode(["", PROMPT], pipeline.text_encoder, pipeline.tokenizer)
    for t in (751, 501, 251, 1):
        step = torch.tensor([t])
        u, c = (
            pipeline.unet(latents, step, text[k : k + 1], encoder_attention_mask=mask[k : k + 1]).sample for k in (0, 1)
        )
        noise = u + 3.5 * (c - u)
        now, before = ALPHA[t].item(), ALPHA[max(t - 250, 0)].item()
        clean = (latents - math.sqrt(1 - now) * noise) / math.sqrt(now)
        latents = math.sqrt(before) * clean + math.sqrt(1 - before) * noise
    log_mel = 2 * 2.0 * pipeline.vae.decode(latents / 0.7).sample - 4.0
    assert torch.allclose(out.log_mels, log_mel, atol=2e-3 * log_mel.abs().max())
    assert torch.allclose(out.waveforms, to_waveform(pipeline.vocoder, out.log_mels, 10240), atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("sampler", "steps", "start"), [("ddim", 200, 996), ("dpm", 25, 999)])
@torch.no_grad()
def test_a_perfect_denoiser_is_led_to_its_sound(sampler, steps, start, prediction, monkeypatch):
    """With the default number of steps, and whether it predicts the noise or the velocity."""
    pipeline = make(sampler, prediction)
    truth = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(5))
    seen = []

    def perfect(latents, t, **text):
        seen.append(int(t))
        a = ALPHA[int(t)].float()
        noise = (latents - a.sqrt() * truth) / (1 - a).sqrt()
        answer = noise if prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * truth
        return type("Answer", (), {"sample": answer.expand(len(latents), -1, -1, -1)})

    monkeypatch.setattr(pipeline.unet, "forward", perfect)
    latents = pipeline.denoise(torch.randn(truth.shape), [PROMPT], None, 3.5)
    assert len(seen) == steps
    assert seen[0] == start
    # AudioLDM's DDIM stops at the first step of the schedule, where a 26th of the noise is left
    assert (latents - truth).std() < (0.05 if sampler == "ddim" else 1e-3)


def test_the_same_seed_gives_the_same_sound_and_another_another():
    pipeline = make("dpm")
    first = generate(pipeline)
    assert first.waveforms.shape == (1, 10240)
    assert first.log_mels.shape == (1, 1, 64, 64)
    assert not first.waveforms.requires_grad
    assert torch.equal(first.waveforms, generate(pipeline).waveforms)
    assert not torch.allclose(first.log_mels, generate(pipeline, seed=1).log_mels, atol=0.01)
    assert not torch.allclose(first.log_mels, generate(pipeline, "A person is breathing, female").log_mels, atol=1e-3)
    assert not torch.allclose(first.log_mels, generate(pipeline, guidance_scale=1).log_mels, atol=1e-3)


def test_with_a_generator_each_a_clip_does_not_depend_on_those_beside_it():
    pipeline = make()
    seeds = [torch.Generator().manual_seed(k) for k in (4, 0)]
    both = pipeline(["A person is breathing, female", PROMPT], seconds=0.64, steps=3, generator=seeds)
    alone = generate(pipeline)
    assert torch.allclose(both.log_mels[1], alone.log_mels[0], atol=1e-2)
    assert not torch.allclose(both.log_mels[0], alone.log_mels[0], atol=0.1)


@pytest.mark.parametrize("vocoder", [True, False])
def test_saved_and_loaded_it_gives_the_same_sound(vocoder, tmp_path):
    pipeline = make("dpm", "v_prediction", vocoder)
    pipeline.save_pretrained(tmp_path)
    kinds = {file.suffix for file in tmp_path.rglob("*") if file.is_file()}
    assert kinds == {".json", ".safetensors"}
    again = LungLDMPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert (again.vocoder is None) == (not vocoder)
    assert isinstance(again.unet, LungUNet)
    assert isinstance(again.vae, LungVAE)
    assert again.scheduler.config.prediction_type == "v_prediction"
    assert torch.equal(generate(again).waveforms, generate(pipeline).waveforms)


def test_a_part_can_be_taken_instead(saved):
    pipeline = LungLDMPipeline.from_pretrained(saved, scheduler=make_scheduler("dpm"))
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)


@pytest.mark.parametrize("prompt", ["", "  ", [], [PROMPT, ""]])
def test_an_empty_prompt_is_refused(prompt):
    with pytest.raises(UserError, match="The prompt is empty; write one such as"):
        generate(make(), prompt)


def test_a_prompt_of_10_000_characters_is_cut_with_a_warning():
    with pytest.warns(UserWarning, match="what comes after the first 128 is not read"):
        assert generate(make(), "coughing, " * 1000, steps=1).waveforms.isfinite().all()


@pytest.mark.parametrize("seconds", [0, 0.01, 0.1, 0.65, 0.6405])
def test_a_length_that_cannot_be_halved_is_refused(seconds):
    with pytest.raises(UserError, match=r"does not fit this model; take a multiple of 0.08 s"):
        make()(PROMPT, seconds=seconds)


def test_a_clip_of_the_paper_preset():
    pipeline = make()
    with torch.device("meta"):
        pipeline.unet = LungUNet(**PRESETS["paper"]["unet"])
    assert pipeline.latent_shape(PRESETS["paper"]["seconds"]) == (8, 128, 16)
    with pytest.raises(UserError, match=r"take a multiple of 0.32 s, say 5.12"):  # 32 frames
        pipeline.latent_shape(5.0)


def test_latents_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"this call needs \(1, 8, 16, 16\)"):
        make()(PROMPT, seconds=0.64, latents=torch.zeros(1, 8, 32, 16))


def refused(folder, match):
    with pytest.raises(UserError, match=match) as told:
        LungLDMPipeline.from_pretrained(folder)
    assert "\n" not in str(told.value)


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    refused(tmp_path, "holds no saved pipeline")
    refused(tmp_path / "nowhere", "holds no saved pipeline")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "weights.ckpt", "model.pt", "x.PTH"])
def test_pickled_weights_are_refused_unread(name, broken):
    (broken / "unet" / name).write_bytes(b"\x80\x04cos\nsystem\n")
    refused(broken, "holds pickled weights, which can run any code; store them as safetensors")


@pytest.mark.parametrize("part", ["unet", "text_encoder", "mel"])
def test_a_corrupt_file_of_weights_is_refused(part, broken):
    (file,) = (broken / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    refused(broken, f"{part} cannot be loaded")


def test_weights_that_are_missing_are_refused(broken):
    (broken / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    refused(broken, "vae cannot be loaded")


def test_a_config_that_is_no_json_is_refused(broken):
    (broken / "unet" / "config.json").write_text('{"gate": ')
    refused(broken, "unet cannot be loaded")
    shutil.rmtree(broken / "unet")
    refused(broken, "is no pipeline of LungLDM")


def test_a_pipeline_of_another_kind_is_refused(broken):
    index = json.loads((broken / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "NoSuchScheduler"]
    (broken / "model_index.json").write_text(json.dumps(index))
    refused(broken, "is no pipeline of LungLDM")


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("unet", "gate", "none"),
        ("unet", "gate", "static"),
        ("unet", "block_out_channels", [16, 64]),
        ("unet", "layers_per_block", 2),
        ("vae", "se", False),
        ("vae", "se_reduction", 2),
        ("text_encoder", "num_layers", 3),
        ("text_encoder", "d_ff", 64),
        ("vocoder", "upsample_initial_channel", 64),
    ],
)
def test_weights_of_another_config_are_refused(part, option, value, broken):
    file = broken / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {option: value}))
    refused(broken, rf"{part} holds the weights of another config \(\d+ differ, first ")


def test_one_weight_too_few_is_refused(broken):
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state.pop("gates.2.excite.weight")
    save_file(state, file, {"format": "pt"})
    refused(broken, "another config.*first gates.2.excite.weight")


def test_slerp_keeps_the_length_of_noise_and_meets_both_ends():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, 16, 16, generator=generator) for _ in range(2))
    shares = torch.linspace(0, 1, 7)
    path = slerp(a, b, shares)
    assert path.shape == (7, 8, 16, 16)
    assert torch.allclose(path[0], a, atol=1e-5)
    assert torch.allclose(path[-1], b, atol=1e-5)
    assert torch.allclose(
        path.flatten(1).norm(dim=1) / a.norm(), torch.linspace(1, float(b.norm() / a.norm()), 7), atol=0.02
    )
    assert torch.lerp(a, b, 0.5).norm() / a.norm() < 0.75  # the straight line does not
    assert torch.allclose(slerp(a, a, shares), a.expand(7, -1, -1, -1), atol=1e-5)
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.allclose(slerp(x, y, torch.tensor([1 / 3])), torch.tensor([[math.cos(math.pi / 6), 0.5]]), atol=1e-6)
