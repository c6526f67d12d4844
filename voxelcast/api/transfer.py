"""New subjects from few stimuli, from saved models of others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from voxelcast.datasets.base import Dataset
from voxelcast.experiment.transfer import transfer_models
from voxelcast.models.encoder import SavedEncoder, load_encoder
from voxelcast.results.schema import TRANSFER
from voxelcast.search.settings import FoldSettings


def transfer(
    models: str | Path | SavedEncoder,
    dataset: Dataset,
    to: str | Path,
    *,
    folds: int | FoldSettings | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Make models of new subjects, who saw few stimuli, with the help of other subjects' saved models.

    The others' predictions for the new subject's stimuli are one band of a ridge regression, the layers that they weigh
    another. How much each counts is chosen inside the folds (`voxelcast.search.transfer`); no help at all is among the
    choices. An ROI is helped by the models of the ROI of its name, or by all where there is none.

    Parameters
    ----------
    models : path or SavedEncoder
        Linear ones, of single stimuli; a SavedEncoder to choose device, subjects or ROIs (`voxelcast.load_encoder`).
    dataset : Dataset
        Of the new subjects (`voxelcast.open_dataset`); its training stimuli count.
    to : str or Path
        Folder to be made, with ``models/``, in the format of a run's, and ``transfer.csv``.
    folds : int or FoldSettings, optional
        None: 5 below 100 stimuli, 10 from there.
    seed : int
        Of the folds.

    Returns
    -------
    rows : DataFrame
        ``transfer.csv``: for each subject x ROI the nested score with the others' help beside that of a fit to the
        subject alone in the same folds, their difference, intervals, and the share of the others.

    Raises
    ------
    UnwritableError
        If the folder is there already.
    OptionError, DataError
        If models or responses are not of a kind that can be used.
    MissingFileError
        If there are no models.

    Examples
    --------
    >>> import voxelcast as vc
    >>> try:
    ...     vc.transfer("no/such/folder", dataset=None, to="new")
    ... except vc.VoxelcastError as error:
    ...     print(str(error)[:36])
    model no/such/folder does not exist;
    """
    encoder = models if isinstance(models, SavedEncoder) else load_encoder(models)
    chosen = folds if isinstance(folds, FoldSettings) else FoldSettings(n=folds)
    rows = transfer_models(encoder, dataset, Path(to), folds=chosen, seed=seed)
    return pd.DataFrame(rows, columns=[column.name for column in TRANSFER.columns])
