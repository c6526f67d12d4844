"""What a user says of a trunk: a model of many subjects whose outputs are features for every encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import settings

TRUNK = "trunk"
"""What stands for the name of a network where a layer is the outputs of a trunk."""
EPOCHS, MOST_EPOCHS = 10, 300
"""Epochs of a temporal trunk, and the most of one that stops by itself."""


@settings
class TrunkSettings:
    """A trunk, whose responses it is trained on, and how.

    Parameters
    ----------
    kind : str
        ``"linear"`` (reduced-rank ridge regression), ``"mlp"`` (a hidden layer), or, of time series, ``"temporal"``
        (a kernel over time for each hidden unit and stream); see `voxelcast.encoders.learned.trunk`.
    subjects : str
        ``"all"``: one trunk for all subjects; ``"each"``: each has its own, to compare.
    rois : str
        ``"each"``: a trunk for each ROI; ``"all"``: one for all of them together, the whole brain.
    unseen : sequence of str
        Subjects whose responses the trunk is not trained on; encoders are fitted to its outputs for them, too.
    streams : sequence of str
        Networks, layers (or shell patterns of them) and feature tables that it reads; none: all.
    width : int
        Hidden units, and the most outputs.
    kernel : int
        Volumes (TR) that a temporal kernel spans, odd unless ``causal``; 1: the volume itself.
    causal : bool
        Whether it reaches back alone, instead of as far forward as back.
    rank : int, optional
        Of each subject's own head; None: full.
    shared_head : bool
        Whether subjects have one head in common, to which each adds its own: they must have the same voxels (parcels).
    subject_dropout : float
        Chance that a subject's own head is left out of a batch, so that the shared one alone predicts a new subject.
    epochs : int, optional
        None: 10 of a temporal trunk; a perceptron stops when the error on a tenth of the stimuli, set aside, has not
        fallen for ten epochs.
    windows, window : int
        Windows in an epoch, and the volumes of each.
    batch : int
        Windows, or stimuli.
    """

    kind: Literal["linear", "mlp", "temporal"] = "linear"
    subjects: Literal["all", "each"] = "all"
    rois: Literal["each", "all"] = "each"
    unseen: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    width: Annotated[int, Ge(1)] = 192
    kernel: Annotated[int, Ge(1)] = 45
    causal: bool = False
    rank: Annotated[int, Ge(1)] | None = None
    shared_head: bool = False
    subject_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    epochs: Annotated[int, Ge(1)] | None = None
    windows: Annotated[int, Ge(1)] = 2000
    window: Annotated[int, Ge(1)] = 64
    batch: Annotated[int, Ge(1)] = 16
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    weight_decay: Annotated[float, Ge(0)] = 0.1

    def __post_init__(self) -> None:
        if self.kind == "temporal" and not self.causal and self.kernel % 2 == 0:
            raise OptionError(f"kernel must be odd, or causal true; got {self.kernel}; take {self.kernel + 1}")
        if self.kind == "linear" and (self.rank or self.shared_head):
            raise OptionError("rank and shared_head go with kinds mlp and temporal; got linear; leave them out")
        if self.subject_dropout and not self.shared_head:
            raise OptionError("subject_dropout needs shared_head, which predicts alone then; set shared_head=true")
