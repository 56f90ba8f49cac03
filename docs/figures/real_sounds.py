"""Pictures of real sounds for the site's page of sounds: `python docs/figures/real_sounds.py DATA`.

One clip a type of sound, the last that is long enough, of DATA as `lungnb data fetch` fills it. Only the picture is kept; it is
drawn as the site draws what is played: 32 ms every 8 ms, 0 to 2 kHz, 70 dB. What it shows stands in the PNG.
"""

import sys
from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lungnb.data import load_corpus

RATE, LONGEST_S = 16_000, 2.56  # as long as the generated ones
AT_LEAST_S = {"crackle": 1.5, "normal lung sound": 2.0, "rhonchi": 1.0, "wheeze": 1.0}

data = Path(sys.argv[1])
events = load_corpus("prompted", data).events
for kind in sorted(events["sound"].unique()):
    seconds = (events["end_s"] - events["start_s"]).fillna(LONGEST_S)  # no end: the whole recording
    event = events[(events["sound"] == kind) & (seconds >= AT_LEAST_S.get(kind, 0))].iloc[-1]
    seconds = min(seconds[event.name], LONGEST_S)
    sound, _ = librosa.load(data / event["path"], sr=RATE, offset=event["start_s"], duration=seconds)
    power = np.abs(librosa.stft(sound, n_fft=512, hop_length=128)[:64]) ** 2
    level = np.clip(1 + 10 * np.log10(power / power.max() + 1e-12) / 70, 0, 1)[::-1]
    said = PngInfo()
    said.add_text("Description", f"{kind}: {event['recording']}, {seconds:.2f} s from {event['start_s']:.2f} s")
    picture = Image.fromarray((plt.get_cmap("magma")(level)[:, :, :3] * 255).astype(np.uint8))
    picture.save(Path(__file__).parent / f"real-{kind.replace(' ', '-')}.png", pnginfo=said, optimize=True)
    print(f"{kind}: {event['recording']}")
