"""What can go wrong on the way from data to a published bundle. Every message is one sentence that names the remedy.

    TrainingError
      ConfigInvalid         a value of the configuration can't be used; nothing has been done yet
      DatasetUnavailable    no source could give the data; the message lists what was tried
      DatasetCorrupt        the data is there but is not the data that is meant: a wrong digest, a damaged file
      WeightsUnavailable    the weights to begin with are not there, or are of another network
      TrainingDiverged      the loss became NaN or infinite
      ExportUnfaithful      an exported file does not run, or does not give the answers that Keras gives
      NothingToShow         a model can't be looked into as was asked

`TrainingDiverged` and `ExportUnfaithful` are results of a run; the others are mistakes that are found before any work.
Nothing is published after any of them.
"""


class TrainingError(Exception):
    """The base of all that training raises on purpose."""


class ConfigInvalid(TrainingError):
    """A value of the configuration can't be used."""


class DatasetUnavailable(TrainingError):
    """No source could give the data."""


class DatasetCorrupt(TrainingError):
    """The data is there but is not the data that is meant."""


class WeightsUnavailable(TrainingError):
    """The weights to begin with are not there, or are of another network."""


class TrainingDiverged(TrainingError):
    """The loss became NaN or infinite."""


class ExportUnfaithful(TrainingError):
    """An exported file does not run, or does not give the answers that Keras gives."""


class NothingToShow(TrainingError):
    """A model can't be looked into as was asked."""
