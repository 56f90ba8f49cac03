"""A box to type a prompt into and hear what the model makes of it, for a running notebook."""

import warnings
from collections.abc import Callable

import ipywidgets as widgets

from lungnb.core import UserError
from lungnb.data.prompts import check_prompt, parse


class PromptBox(widgets.VBox):
    """`show(text, seed)` displays what the model makes of a prompt; each press of the button draws other noise.

    What is wrong with a prompt (empty, too long) is said in one sentence and nothing is generated; what the model has seen
    nothing like (off the grammar) is said and generated all the same.
    """

    def __init__(self, show: Callable[[str, int], None], prompt: str):
        self.show, self.seed = show, 0
        self.text = widgets.Text(prompt, continuous_update=False, layout={"width": "36em"}, description="prompt")
        self.button = widgets.Button(description="make a sound", button_style="primary")
        self.said, self.output = widgets.Label(), widgets.Output()
        self.button.on_click(lambda _: self.make())
        super().__init__([widgets.HBox([self.text, self.button]), self.said, self.output])

    def make(self) -> None:
        """What the button does."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                text = check_prompt(self.text.value)
                parse(text)
            except UserError as error:
                self.said.value = str(error)
                return
            self.said.value = " ".join(str(warning.message) for warning in caught)
        self.output.clear_output(wait=True)
        with self.output, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the text encoder says again what was said above
            self.show(text, self.seed)
        self.seed += 1

    def __repr__(self) -> str:
        return "A box to type a prompt into stands here while the notebook runs."
