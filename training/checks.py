"""What can be known to be wrong with a run before TensorFlow is loaded and before a picture is read.

Nothing is written and nothing heavy imported, so a mistake costs a second and leaves no trace. Whatever can only be
seen by doing it is still refused where it is done. Called by `training.cli`.
"""

from collections.abc import Mapping
from pathlib import Path

from bundle.publishing import check_place, check_writable
from training import architectures, datasets
from training.config import TrainingConfig
from training.errors import ConfigInvalid
from training.fitting.cluster import share


def check(config: TrainingConfig, repository: Path | None, others: Mapping[str, Path | None]) -> None:
    """The data's source, the network and the folders that the run will write; `others` are folders by their flags.

    Raises ConfigInvalid, DatasetUnavailable, WeightsUnavailable and PublishError.
    """
    architectures.check(config)
    datasets.check(config.dataset, Path(config.data) if config.data else None)
    if not share(config.distribute).leads:
        repository = None  # the first process publishes; others may not even have the folder
    if repository is not None:
        check_place(repository, config.name)
    for flag, folder in {"--repository": repository, **others}.items():
        if folder is not None:
            _check_folder(flag, folder, config)


def _check_folder(flag: str, folder: Path, config: TrainingConfig) -> None:
    try:
        check_writable(folder)
    except OSError as error:
        raise ConfigInvalid(f"{flag} {folder} can't be written: {error.strerror}; choose another folder") from error
    inside = config.data and folder.resolve().is_relative_to(Path(config.data).resolve())
    if inside and config.dataset == datasets.FILES:
        raise ConfigInvalid(
            f"{flag} {folder} lies among the pictures in {config.data}, where it would be taken for a class; "
            "choose a folder outside of them"
        )
