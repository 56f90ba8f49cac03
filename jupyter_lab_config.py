"""JupyterLab as `make lab` starts it: a notebook that is saved unchanged stays the same, byte by byte, whoever saves it."""

c = get_config()  # noqa: F821  (Jupyter gives it)


def without_version(model, **_):
    """Before it is saved: only the name of the language, not the version of the kernel that happens to run."""
    language = model["content"]["metadata"].get("language_info", {}) if model["type"] == "notebook" else {}
    for key in set(language) - {"name"}:
        del language[key]


c.ContentsManager.pre_save_hook = without_version
