"""LungLDM: prompt -> text encoder -> latent diffusion -> VAE decoder -> vocoder -> lung sound at 16 kHz.

Composed from diffusers and transformers; ours are the front end, the gates, the loss and the pipeline. The paper prints few
of its choices: what each default rests on stands in docs/papers/lungldm.md, section 3.
"""
