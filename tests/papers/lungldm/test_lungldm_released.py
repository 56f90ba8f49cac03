"""The released AudioLDM: a tiny one with the classes of the real one goes through a folder, and other folders are refused."""

import json

import pytest
import torch
from diffusers import AudioLDMPipeline, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from lungnb.core import UserError
from lungnb.papers.lungldm.pipeline import load_audioldm, sound_of_audioldm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The classes of cvssp/audioldm, as small as they can be."""
    root = tmp_path_factory.mktemp("audioldm")
    torch.manual_seed(0)
    letters = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz,", "Ġ"]
    (root / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(letters)}))
    (root / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = RobertaTokenizer(str(root / "vocab.json"), str(root / "merges.txt"), model_max_length=77)
    text = ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=1,
            projection_dim=16,
            max_position_embeddings=128,
        )
    )
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(8, 16),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=16,
        class_embeddings_concat=True,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        in_channels=1,
        out_channels=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8,
            sampling_rate=16000,
            upsample_initial_channel=16,
            upsample_rates=[10, 16],
            upsample_kernel_sizes=[20, 32],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
        )
    )
    for layer in vocoder.modules():  # its own start, 0.01, makes a sound too faint to be told from another
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    pipeline = AudioLDMPipeline(vae, text, tokenizer, unet, DDIMScheduler(), vocoder)
    pipeline.save_pretrained(root / "pipeline")
    return root / "pipeline"


def test_one_clip_a_prompt_of_the_length_asked_for(folder):
    pipeline, said = load_audioldm(str(folder)), ["a person is coughing", "a person is breathing", "a vowel"]
    sound = sound_of_audioldm(pipeline, said, 0.64, steps=2, batch_size=2)
    assert sound.shape == (3, 10240)
    assert sound.isfinite().all()
    parted = sound_of_audioldm(pipeline, said, 0.64, steps=2, batch_size=1)
    assert torch.allclose(sound, parted, atol=1e-4)
    other = sound_of_audioldm(pipeline, said, 0.64, steps=2, seed=1)
    assert not torch.allclose(sound, other, atol=1e-3)


def test_what_is_no_audioldm_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"There is no AudioLDM at .*give the folder"):
        load_audioldm(str(tmp_path))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with pytest.raises(UserError, match="There is no AudioLDM"):
        load_audioldm(str(folder))
    weights.write_bytes(whole)
