"""Sizes of LungLDM as plain options of its parts: LungMel(**mel), LungVAE(**vae), LungUNet(**unet), hifigan(**vocoder).

text is "tiny" or what `load_text_encoder` takes. "paper" is the sheet's recommended default (sections 3.1 to 3.5), since the
paper prints one number, 96M; "smoke" is section 3.6; "laptop" lies between.
"""


def vae_options(widths, layers_per_block=2, norm_num_groups=32, mid_block_add_attention=True, **options) -> dict:
    """LungVAE from mels of one channel to 8 latent channels, one stage for each of `widths`."""
    return {
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 8,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "block_out_channels": list(widths),
        "layers_per_block": layers_per_block,
        "norm_num_groups": norm_num_groups,
        "mid_block_add_attention": mid_block_add_attention,
        "scaling_factor": 1.0,
        **options,
    }


def unet_options(widths, cross_attention_dim, layers_per_block=2, norm_num_groups=32, **options) -> dict:
    """LungUNet on 8 latent channels: attention to the text on every level but the first, heads of width 32."""
    n = len(widths)
    return {
        "in_channels": 8,
        "out_channels": 8,
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * (n - 1),
        "up_block_types": ["CrossAttnUpBlock2D"] * (n - 1) + ["UpBlock2D"],
        "block_out_channels": list(widths),
        "layers_per_block": layers_per_block,
        "norm_num_groups": norm_num_groups,
        "cross_attention_dim": cross_attention_dim,
        "attention_head_dim": [
            max(width // 32, 1) for width in widths
        ],  # by its name a width, in diffusers a number of heads
        **options,
    }


PRESETS: dict[str, dict] = {
    "smoke": {
        "seconds": 0.64,
        "mel": {},
        "vae": vae_options((8, 16, 32), 1, 8, mid_block_add_attention=False, se_reduction=4),
        "unet": unet_options((16, 32), 64, 1, 8),
        "text": "tiny",
        "vocoder": {
            "upsample_initial_channel": 32,
            "resblock_kernel_sizes": [3, 7],
            "resblock_dilation_sizes": [[1, 3], [1, 3]],
        },
    },
    "laptop": {
        "seconds": 2.56,
        "mel": {},
        "vae": vae_options((16, 32, 64), 1, 8, mid_block_add_attention=False),
        "unet": unet_options((32, 64, 96), 64, 1, 8),
        "text": "tiny",
        "vocoder": {"upsample_initial_channel": 128},
    },
    "paper": {
        "seconds": 5.12,
        "mel": {},
        "vae": vae_options((128, 256, 512)),
        "unet": unet_options((128, 192, 320, 416), 768),
        "text": "google/flan-t5-base",
        "vocoder": {},
    },
}
