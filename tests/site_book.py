"""A small notebook as the book stores them, with everything in it that the site has to show."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
from IPython.display import Audio
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lungnb.book.report import as_html

PROSE = r"""# Toy: two sounds and a score

**The claim.** Table I and Figure 2 say it, `02_convlstm` as well, and [Table 3](02_convlstm.ipynb#table-3)
there; Table IX is not here.

> **Paper, section 2.** The score is $\frac{S_e + S_p}{2}$.

$$w_c = \frac{N}{7 n_c}$$
"""


def picture() -> bytes:
    png = io.BytesIO()
    figure, axes = plt.subplots(figsize=(4, 2))
    axes.plot([0, 1])
    figure.savefig(png)
    plt.close(figure)
    return base64.b64encode(png.getvalue()).decode()


def display(kind: str, content: str, **metadata):
    return new_output("display_data", data={kind: content, "text/plain": "-"}, metadata=metadata)


def toy_book() -> nbformat.NotebookNode:
    """Two artefacts of the paper and one of ours, a stream between them, a player, a wide table, two exercises."""
    table = as_html(
        pd.DataFrame({"row": ["CNN"], "Score": [0.5]}),
        "table-1",
        "Table 1: scores. Simulated data. One_seed <b> *only*.",
    )
    wide = as_html(pd.DataFrame([np.arange(60)]), "wide", "Wide: published numbers.")
    figure = display("image/png", picture(), **{"image/png": {"alt": "Figure 2: a wheeze. Simulated data."}})
    tone = Audio(0.1 * np.sin(np.arange(4000) / 3), rate=8000)._repr_html_()
    outputs = [display("text/html", table), new_output("stream", text="between\n"), display("text/html", wide), figure]
    return new_notebook(
        metadata={"language_info": {"name": "python"}},
        cells=[
            new_markdown_cell(PROSE),
            new_code_cell("x = 1", execution_count=1),
            new_markdown_cell("## 2.1 Data\n\nOne sound."),
            new_code_cell("everything()" + 200 * " + 1", outputs=outputs, execution_count=2),
            new_code_cell("Audio(tone)", outputs=[display("text/html", tone)], execution_count=3),
            new_markdown_cell("### Ours alone\n\n### Figure 2: again"),
            new_markdown_cell("## Exercises\n\nTwo.\n\n**1.** What is one?"),
            new_code_cell("1", metadata={"tags": ["solution"]}, execution_count=4),
            new_markdown_cell("**2.** And two,\nall told?"),
            new_code_cell("2", metadata={"tags": ["solution"]}, execution_count=5),
        ],
    )
