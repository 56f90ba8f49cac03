"""A stand-in for soundfile in the browser, without libsndfile: the simulators import it, and only their sounds are asked for."""


def __getattr__(name: str):
    raise ImportError(
        f"soundfile.{name} is not to be had in the browser: no sound is read from a file or written to one here"
    )
