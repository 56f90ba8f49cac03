"""What can be chosen for a classifier: the fields of `Classification`, in the order in which data flow."""

from typing import ClassVar, Literal

import pydantic

from lungnb.classification.networks import CLASSIFIERS, FrontEndName
from lungnb.classification.preprocessing import Padding, Windows
from lungnb.core import UserError
from lungnb.data.splits import Validation
from lungnb.data.tasks import task_of
from lungnb.papers.convlstm import INPUTS, InputName
from lungnb.papers.respirenet import Backbone, BlankRegionClipping
from lungnb.training.experiment import Experiment


class Choices(Experiment):
    """All choices of one training; what the papers and the comparison choose stands in `lungnb/configs/*.yaml`."""

    _small: ClassVar[bool] = True
    _one_thread: ClassVar[bool] = True

    # what is classified, and who is trained on, selects and is tested (lungnb.data.tasks, lungnb.data.splits)
    task: str
    split: str = "patients"
    fold: int | None = 0
    n_folds: int = 5
    leaky: str | None = None
    validation: Validation = "patients"
    held_out: tuple[int, int] = (1, 5)
    #: Train in this cohort and test elsewhere, or on `fold` of it (split="cohort"); as many patients of each class.
    cohort: str = ""
    balanced: bool = False
    #: Only events with these values, as {"device": "Meditron"}, are trained on and tested.
    only: dict[str, str] = pydantic.Field(default_factory=dict)
    #: Other tasks with the same classes, and the fingerprints of their data sets: their test part is predicted as well.
    transfer: dict[str, str] = pydantic.Field(default_factory=dict)

    # clips (lungnb.classification.preprocessing.Clips)
    clip_s: float = 3.0
    padding: Padding = "repeat"
    test_padding: Padding = "repeat"
    long: Windows = "windows"
    cba: bool = False
    same_class: bool = True
    random_side: bool = False
    sites: tuple[str, ...] = ()
    missing: Literal["zero", "mean", "mask"] = "mean"

    # features and network (lungnb.classification.networks); empty: as the classifier's registry entry says
    model: str
    front_end: FrontEndName | Literal[""] = ""
    sample_rate: int = 0
    size: InputName = "A"
    pooling: tuple[int, int] = (1, 1)
    #: z-scores by channel or row over the training clips, or by clip; "fixed": the paediatric paper's, of no statistics;
    #: "recording": minus the recording's mean.
    normalisation: Literal["channel", "row", "clip", "fixed", "recording"] = "row"
    content: Literal["all", "background", "below 500 Hz", "white noise"] = "all"
    metadata: Literal["real", "shuffled", "zeroed"] = "real"
    backbone: Backbone = "resnet34"
    pretrained: str = "imagenet or scratch"
    zoom: int = 3
    clipping: BlankRegionClipping = "none"
    readout: Literal["all", "last"] = "all"
    hidden: int = 512
    dropout: float = 0.2
    #: The frozen encoder of "encoder + regression" (lungnb.classification.encoders), or its control: weights drawn by the seed.
    encoder: str = ""
    random_weights: bool = False

    # training
    augment_waveforms: bool = False
    augment_features: bool = True
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    weight_decay: float = 1e-2
    max_grad_norm: float | None = None
    epochs: int = 30
    batch_size: int = 32
    #: Samples drawn an epoch: all clips, as many as there are events before any joining, or a number.
    draws: int | Literal["clips", "events"] = "events"
    #: A class is drawn in proportion to its count to this power: 1 as it comes, 0 all classes alike; None: each sample once.
    class_balance: float | None = 0.5
    loss_weights: Literal["none", "inverse", "inverse square root"] = "none"
    #: The epoch that is kept, and by which number of the validation part. A choice made on the test part is leaky and is kept
    #: beside it, if wanted, under its name.
    selection: Literal["validation", "last"] = "validation"
    criterion: Literal["AS", "Score", "-loss", "choice"] = "choice"
    leaky_selection: bool = False
    patience: int | None = None
    #: From clips to what is scored: the mean of their probabilities, the class most of them vote for, or clips as they are.
    combine: Literal["mean", "vote", "none"] = "mean"
    predict_train: bool = False

    def check(self) -> None:
        """Raise UserError where a choice fits no such model or task."""
        task, entry = task_of(self.task), CLASSIFIERS.get(self.model)
        if entry is None:
            raise UserError(f"There is no classifier {self.model!r}; known are {', '.join(CLASSIFIERS)}.")
        front = self.front_end or entry.front_end
        if entry.all_sites and task.unit == "event":
            raise UserError(
                f"{self.model} hears all sites of a patient at once, and an event is at one; choose MPO, or a task whose "
                "unit is a patient."
            )
        if entry.all_sites and self.transfer:
            raise UserError(f"{self.model} has a channel for each site of its own data set; transfer another model.")
        seconds = INPUTS[self.size].seconds
        if front in ("stacked", "stretched") and self.clip_s != seconds:
            raise UserError(f"The Conv-LSTM takes clips of {seconds:g} s, not of {self.clip_s:g} s; set clip_s.")
        if (front == "stretched") != (self.size == "stretched") or (front == "stretched" and self.augment_waveforms):
            raise UserError(
                "Stretched maps need the size of that name, and features, not waveforms, to augment; set both."
            )
        if (front == "embedding") != bool(self.encoder) or (self.random_weights and not self.encoder):
            raise UserError(
                "'encoder + regression' needs an encoder, as \"resemblyzer\", and no other classifier takes one."
            )
        if self.class_balance is None and (self.draws != "clips" or entry.build is None):
            raise UserError(
                "class_balance=None takes each clip once: it needs draws='clips', and a model that is trained by epochs."
            )
        if self.clipping != "none" and self.model != "RespireNet":
            raise UserError(
                f"Blank region clipping is part of RespireNet's image; {self.model!r} has another: leave it out."
            )
        if self.metadata != "real" and self.model != "full":
            raise UserError(f"Only the model 'full' embeds metadata, {self.model!r} does not: leave it out.")
        for name in self.transfer:
            if task_of(name).classes != task.classes:
                raise UserError(f"{task.name!r} and {name!r} do not share their classes; choose tasks that do.")
