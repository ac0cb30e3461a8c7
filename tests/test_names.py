"""Every name a user can type has its thing, and the other way round."""

import configparser
from pathlib import Path
from typing import get_args

import marr_pipeline
from marr_pipeline import names


def test_phase_one_registries():
    from marr_pipeline.backbone import BACKBONES
    from marr_pipeline.backbone.extract import BatchNorm
    from marr_pipeline.data import AUGMENTATIONS, DATASETS
    from marr_pipeline.data.normalise import NORMALISATIONS
    from marr_pipeline.losses import LOSSES
    from marr_pipeline.protocols import PROTOCOLS
    from marr_pipeline.systems import SYSTEMS

    assert tuple(DATASETS) == names.DATASETS
    assert tuple(BACKBONES) == names.BACKBONES
    assert tuple(NORMALISATIONS) == names.NORMALISATIONS
    assert names.OF_DATASET not in NORMALISATIONS
    assert tuple(PROTOCOLS) == names.DATASETS
    assert all(tuple(protocol.recipes) == names.RECIPES for protocol in PROTOCOLS.values())
    assert set(names.SMALL_AUGMENTATIONS + names.LARGE_AUGMENTATIONS) == set(names.AUGMENTATIONS)
    assert tuple(AUGMENTATIONS) == names.AUGMENTATIONS
    assert (*LOSSES, *SYSTEMS) == names.TRAINING_METHODS
    assert get_args(BatchNorm) == names.BATCH_NORMS


def test_phase_two_registries():
    from marr_pipeline.rectify.methods import METHODS
    from marr_pipeline.rectify.methods.affine import SOLVERS
    from marr_pipeline.rectify.settings import PRESETS
    from marr_pipeline.workflows.figures import FIGURES

    assert tuple(METHODS) == names.METHODS
    assert (*SOLVERS, "sgd") == names.OPTIMIZERS
    assert tuple(PRESETS) == names.PRESETS
    assert tuple(FIGURES) == names.FIGURES


def test_the_doctor_knows_every_extra():
    from marr_pipeline.workflows.doctor import EXTRAS

    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    assert {*EXTRAS, "test"} == set(config["options.extras_require"])


def test_every_public_name_loads():
    for name in marr_pipeline.__all__:
        assert getattr(marr_pipeline, name) is not None
