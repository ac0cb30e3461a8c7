"""Which normalisation of the pixels holds: the one said, stored, known of the network, or own."""

from collections.abc import Mapping
from typing import Any

from marr_pipeline.backbone.networks.libraries import NetworkInput
from marr_pipeline.data.normalise import Normalisation, parse_normalisation
from marr_pipeline.errors import DataError
from marr_pipeline.names import OF_DATASET


def asked_normalisation(said: str | None, known: NetworkInput | None) -> Normalisation | None:
    """What the user says, or else what the network is known to take; None leaves the dataset's.

    Raises:
        ConfigError: the text is no normalisation.
    """
    if said is None:
        return None if known is None else known.normalisation
    return None if said == OF_DATASET else parse_normalisation(said)


def stored_normalisation(dataset: Mapping[str, Any]) -> Normalisation | None:
    """What the record of a dataset says that was asked for; None if it was the dataset's own."""
    if dataset.get("own_normalisation", True):
        return None
    return Normalisation.from_record(dataset["normalisation"])


def check_normalisation(said: str, dataset: Mapping[str, Any], *, where: str) -> None:
    """Raise a DataError unless a checkpoint was trained with the normalisation that is said.

    Args:
        said: by the user.
        dataset: the record of the data that the checkpoint was trained on.
        where: how errors name the file.

    Raises:
        ConfigError: the text is no normalisation.
        DataError: it is another one.
    """
    stored = Normalisation.from_record(dataset["normalisation"])
    if said == OF_DATASET:
        agrees = stored_normalisation(dataset) is None
    else:
        agrees = parse_normalisation(said).of_channels(dataset["channels"]) == stored
    if not agrees:
        raise DataError(
            f"--normalisation: {stored.text} expected, with which {where} was trained, got {said}; "
            "leave the option out"
        )
