"""The errors that voxelcast raises on purpose.

::

    VoxelcastError
    ├── OptionError        (ValueError)         a setting outside what is allowed
    ├── ConfigError        (ValueError)         an experiment file that cannot be understood
    ├── ShapeError         (ValueError)         an array of the wrong shape
    ├── DataError          (ValueError)         values that cannot be analysed: NaN, constant, too few
    ├── AlignmentError     (ValueError)         two things that should speak of the same stimuli do not
    ├── StimulusError      (ValueError)         a video or image that cannot be read whole
    ├── UnsafeFileError    (ValueError)         a pickle or archive that may do harm
    ├── UnknownNameError   (KeyError)           a network, layer, ROI or subject that does not exist
    ├── MissingFileError   (FileNotFoundError)  a file that should be there
    ├── UnwritableError    (OSError)            a place that cannot be written to
    ├── MissingPackageError (ImportError)       an optional package that is not installed
    ├── ExecutionError     (RuntimeError)       work that a worker, a scheduler or a cloud did not do
    └── StoreError         (RuntimeError)       a stored result that belongs to something else

    VoxelcastWarning       (UserWarning)        a result that is there, but not as it might be expected

Every message is one line: what was wrong, what is allowed, what was got, what to do.
"""

from __future__ import annotations


class VoxelcastError(Exception):
    """Root of the errors that voxelcast raises on purpose; its text is one line for the user.

    Examples
    --------
    >>> import voxelcast as vc
    >>> try:
    ...     vc.load_network("torchvision/resnet19", layers="all")
    ... except vc.VoxelcastError as error:
    ...     print(str(error)[:45])
    network 'torchvision/resnet19' does not exist
    """

    def __str__(self) -> str:
        # KeyError would show its argument in quotes; the user gets the sentence itself.
        return str(self.args[0]) if self.args else type(self).__name__


def one_line(error: BaseException) -> str:
    """Return an error's text in one line, for a message of ours."""
    return " ".join(str(error).split())


class OptionError(VoxelcastError, ValueError):
    """A setting lies outside what is allowed."""


class ConfigError(VoxelcastError, ValueError):
    """An experiment file cannot be understood."""


class ShapeError(VoxelcastError, ValueError):
    """An array has the wrong shape."""


class DataError(VoxelcastError, ValueError):
    """Values cannot be analysed as they are: NaN, constant, too few."""


class AlignmentError(VoxelcastError, ValueError):
    """Two things that should speak of the same stimuli do not."""


class StimulusError(VoxelcastError, ValueError):
    """A video or image cannot be read whole."""


class UnsafeFileError(VoxelcastError, ValueError):
    """A pickle or archive could do harm and is refused."""


class UnknownNameError(VoxelcastError, KeyError):
    """A network, layer, ROI or subject of that name does not exist."""


class MissingFileError(VoxelcastError, FileNotFoundError):
    """A file that should be there is not."""


class UnwritableError(VoxelcastError, OSError):
    """A place cannot be written to."""


class MissingPackageError(VoxelcastError, ImportError):
    """A package that this needs is not installed."""


class ExecutionError(VoxelcastError, RuntimeError):
    """A worker, a scheduler or a cloud did not do the work it was given."""


class StoreError(VoxelcastError, RuntimeError):
    """A stored result belongs to something else and is neither reused nor overwritten."""


class VoxelcastWarning(UserWarning):
    """A result is there, but not as the user may expect it: voxels without a score, say.

    Examples
    --------
    >>> import warnings
    >>> import voxelcast as vc
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", vc.VoxelcastWarning)  # stop where one comes
    """
