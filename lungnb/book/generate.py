"""A sound for a prompt, by the recorded generator of lungldm/generators: no training, a few seconds."""

from pathlib import Path

import diffusers
import soundfile
import transformers

from lungnb.book.clips import generator_folder
from lungnb.book.recorded import experiment
from lungnb.core import UserError
from lungnb.data.prompts import check_prompt, parse
from lungnb.papers.lungldm.networks import PRESETS
from lungnb.papers.lungldm.pipeline import LungLDMPipeline, clip_noise

#: What soundfile writes by the ending of a name.
_ENDINGS = (".wav", ".flac", ".ogg")


def generate(prompt: str, path: Path, seed: int = 0, guidance: float = 0.0) -> Path:
    """Write the sound of `prompt`, mono at 16 kHz, to `path` (wav, flac or ogg); the same seed makes the same sound.

    guidance: 0 for that of the recorded experiment. A prompt off the grammar is made with a warning. Raises UserError for a
    prompt that `check_prompt` refuses, for another ending or no such folder, and where no generator is on file.
    """
    text, path = check_prompt(prompt), Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(f"A sound is written as {', '.join(_ENDINGS)}, not as {path.name!r}; name the file so.")
    if not path.resolve().parent.is_dir():
        raise UserError(f"There is no folder {path.resolve().parent}; make it, or name another.")
    pipeline, fields = recorded_generator(), experiment("lungldm/generators")["fields"]
    parse(text)  # warns of words that no clip was trained with
    made = pipeline(
        text,
        PRESETS[fields["run"]["size"]]["seconds"],
        guidance_scale=guidance or fields["guidance"],
        generator=clip_noise(1, seed),
    )
    soundfile.write(path, made.waveforms[0].numpy(), pipeline.mel.config.sample_rate)
    return path


def recorded_generator() -> LungLDMPipeline:
    """The recorded generator of lungldm/generators, in float32, without progress bars. Raises UserError where none is on file."""
    weights = generator_folder()
    if not (weights / "model_index.json").is_file():
        raise UserError(
            f"No generator is on file in {weights}; train and keep one with `lungnb record lungldm/generators --data DIR`."
        )
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    pipeline = LungLDMPipeline.from_pretrained(weights)
    pipeline.text_encoder.float()  # diffusers has read the others so
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
