"""LungLDM: prompt -> text encoder -> latent diffusion -> VAE decoder -> vocoder -> lung sound at 16 kHz.

Composed from diffusers and transformers; ours are the front end, the gates, the loss and the pipeline. The paper prints few
of its choices: what each default rests on stands in docs/papers/lungldm.md, section 3.
"""

# ruff: noqa: F401 what the notebooks import

from lungnb.papers.lungldm.classifier import CLASSES, in_batches, predict_names
from lungnb.papers.lungldm.diffusion import DiffusionRun
from lungnb.papers.lungldm.experiments import AutoencoderRun, ClassifierRun, VocoderRun
from lungnb.papers.lungldm.frontend import GriffinLim, LungMel, hifigan, to_waveform
from lungnb.papers.lungldm.losses import CAP, expm1_capped, exponential_penalty
from lungnb.papers.lungldm.networks import PRESETS, Gate, LungUNet, LungVAE, SEGate
from lungnb.papers.lungldm.pipeline import LungLDMPipeline, load_audioldm, slerp, sound_of_audioldm
from lungnb.papers.lungldm.plans import Plan, System
from lungnb.papers.lungldm.samples import (
    PromptBox,
    SampleRun,
    SynthesisRun,
    matched_references,
    measures,
    predict,
    prompt_set,
    spectrum,
)
