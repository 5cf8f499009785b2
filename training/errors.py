"""What can go wrong on the way from data to a published bundle. Every message is one sentence that names the remedy.

    TrainingError
      ConfigInvalid         a value of the configuration can't be used; nothing has been done yet
      DatasetUnavailable    no source could give the data; the message lists what was tried
      DatasetCorrupt        the data is there but is not the data that is meant: a wrong digest, a damaged file
      WeightsUnavailable    the weights to begin with are not there, or are of another network
      RunUnusable           a run folder can't be read or written, or belongs to another process or to other data
      ModelUnreadable       a model that Convoy did not train can't be read, or is no classifier of pictures
      ChoiceNeeded          neither its file nor the user says what must be known; the message lists the choices
      ChoiceContradicted    the user says one thing, the file another
      TrainingDiverged      the loss became NaN or infinite
      ExportUnfaithful      an exported file does not run, or does not give the answers that the model gives
      VariantRefused        a variant of another precision can't be made or is not as good as the exact one
      NothingToShow         a model can't be looked into as was asked

`TrainingDiverged`, `ExportUnfaithful` and `VariantRefused` are results of a run; the others are mistakes that are found
before any work. Nothing is published after any of them but `VariantRefused`, which costs the version that variant.
"""


class TrainingError(Exception):
    """The base of all that training raises on purpose."""


class ConfigInvalid(TrainingError):
    """A value of the configuration can't be used."""


class DatasetUnavailable(TrainingError):
    """No source could give the data."""


class DatasetCorrupt(TrainingError):
    """The data is there but is not the data that is meant."""


class ModelUnreadable(TrainingError):
    """A model that Convoy did not train can't be read, or is no classifier of pictures."""


class ChoiceNeeded(TrainingError):
    """Neither a model's file nor the user says something that must be known."""


class ChoiceContradicted(TrainingError):
    """The user says one thing about a model, its file another."""


class WeightsUnavailable(TrainingError):
    """The weights to begin with are not there, or are of another network."""


class TrainingDiverged(TrainingError):
    """The loss became NaN or infinite."""


class ExportUnfaithful(TrainingError):
    """An exported file does not run, or does not give the answers that the model gives."""


class VariantRefused(TrainingError):
    """A variant of another precision can't be made or is not as good as the exact one."""


class RunUnusable(TrainingError):
    """A run folder can't be read or written, or belongs to another process or to other data."""


class NothingToShow(TrainingError):
    """A model can't be looked into as was asked."""
