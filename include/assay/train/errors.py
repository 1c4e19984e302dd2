"""What can go wrong before a training starts; what goes wrong during one is its result, not an error."""

from __future__ import annotations

from assay.errors import Terminal, Transient


class TrainError(Terminal):
    """Base of the errors of this room that no second try mends."""


class PrepareError(TrainError):
    """The table cannot be turned into training arrays under this contract."""


class PreprocessError(TrainError):
    """A table does not fit the fitted preprocessing."""


class RequestError(TrainError):
    """A training request, or the files that it names, cannot be used."""


class PreconditionError(TrainError):
    """A robust aggregation is asked for more than so many sources can give."""


class PrivacyError(TrainError):
    """Private training is asked for in a way that cannot keep its promise."""


class BundleExists(TrainError):
    """The bundle directory is taken by something else."""


class ProtocolError(TrainError):
    """The worker wrote something that is not a protocol line."""


class RunBusy(Transient):
    """Another process is training the same request."""
