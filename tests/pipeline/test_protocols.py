import pytest

from marr_pipeline import names
from marr_pipeline.backbone import BACKBONES
from marr_pipeline.protocols import NORMALISATIONS, OTHER, PROTOCOLS, protocol_of

EACH = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


@EACH
def test_what_it_names_exists(protocol):
    for defaults in (protocol.small, protocol.large):
        assert defaults.backbone in BACKBONES
        assert defaults.augmentation in defaults.augmentations
        assert set(defaults.augmentations) <= set(names.AUGMENTATIONS)
        assert defaults.normalisation in (None, *NORMALISATIONS)
    assert set(protocol.retraining) <= set(names.METHODS)
    assert set(protocol.list_names) <= set(names.SPLITS)
    # Streamed images have no statistics of their own at hand.
    assert protocol.large.normalisation is not None


@EACH
def test_a_schedule_has_one_length(protocol):
    for terms in protocol.recipes.values():
        assert (terms.iterations is None) != (terms.epochs is None)
    for terms in (*protocol.marr.values(), *protocol.retraining.values()):
        assert (terms.iterations == 0) != (terms.epochs is None)


@EACH
def test_figures_agree_with_each_other(protocol):
    for figures in protocol.figures.values():
        assert figures.num_classes == protocol.num_classes
        assert figures.images["train"] >= figures.num_classes * figures.smallest
        assert figures.images["train"] <= figures.num_classes * figures.largest


@pytest.mark.parametrize("name", [None, "folder", "somebody's own"])
def test_others_are_treated_alike(name):
    assert protocol_of(name) is OTHER
    assert OTHER.num_classes is None
