"""A finding in two sentences, composed of intervals: whatever the data of a build say, the words agree with them."""

from collections.abc import Mapping
from typing import NamedTuple


class Interval(NamedTuple):
    """A value, and the ends of its 95 % interval."""

    ours: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ours:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def effect(gain: Interval) -> str:
    """helps, harms, or makes no difference that could be seen: an interval with 0 in it is no evidence either way."""
    return "helps" if gain.low > 0 else "harms" if gain.high < 0 else "makes no difference that could be seen"


def finding(
    origin: str,
    gains: Mapping[str, Interval],
    leads: Mapping[str, Interval],
    rare: Interval,
    alone: Interval,
    everything: Interval,
    left: Interval,
    adherence: float,
    copied: Interval,
) -> str:
    """The finding on synthetic augmentation, in two sentences.

    gains: in balanced accuracy over few recorded clips, of each thing that is added, generated clips first. leads: of generated
    clips over each other thing. rare: the gain of generated clips in recall of rare types. alone, everything: gains of training
    on as many generated clips alone, and on every recorded clip that the generator was trained on. left: what the latter is
    ahead of adding generated clips. copied: share of generated clips that stand out as 5 % of held-out ones do.
    """
    (name, gain), *others = gains.items()
    rivals = " and ".join(f"{other} {effect(g)} ({g})" for other, g in others)
    behind = [other for other, lead in leads.items() if lead.low > 0]
    ahead = [other for other, lead in leads.items() if lead.high < 0]
    first = (
        f"On {origin} clips, adding {name} to few recorded ones {effect(gain)} ({gain} in balanced accuracy, {rare} in recall "
        f"of the rare types), while at the same budget {rivals}"
        + (f"; it is ahead of {' and '.join(behind)} by more than chance" if behind else "")
        + (f"; it is behind {' and '.join(ahead)} by more than chance" if ahead else "")
    )
    worth = {"helps": "are better than as many recorded ones", "harms": "are worse than as many recorded ones"}
    source = {"helps": "more than what the generator passes on of them", "harms": "less than what it makes of them"}
    copies = "more" if copied.low > 0.05 else "no more"
    second = (
        f"Alone, generated clips {worth.get(effect(alone), 'cannot be told from as many recorded ones')} ({alone}), and the "
        f"recorded clips that the generator was trained on would give {everything}, "
        f"{source.get(effect(left), 'not clearly more or less than what it passes on of them')}; a judge hears {adherence:.0%} "
        f"of the generated clips as what the prompt asked for, and {copies} of them than of strangers' clips look like a copy of "
        f"one training clip ({copied.ours:.0%}, and 5% of strangers)"
    )
    return f"{first}. {second}."
