"""The recipes' numbers for every dataset.

`paper` is the text of the MARR paper, `official` what its released code does, `default` ours: the
released code's rates with every image of an epoch seen and the rate changed at every step. The
last iterate is kept in all of them. Images of datasets that the paper does not know are trained as
CIFAR's.

The released code trains no network of its own for Places-LT and iNaturalist 2018: it takes weights
of Kang et al. (2020). There `official` is the paper's text in the released code's bookkeeping.
"""

from dataclasses import replace

from marr_pipeline.backbone.training.recipe import RecipeTerms

_CIFAR = RecipeTerms(
    iterations=13_000,
    batch_size=512,
    initial_learning_rate=0.05,
    peak_learning_rate=0.1,
    warmup_iterations=800,
    weight_decay=5e-4,
)
_LARGE = RecipeTerms(
    epochs=90,
    batch_size=256,
    initial_learning_rate=0.1,
    peak_learning_rate=0.1,
    weight_decay=5e-4,
)
LARGE_TERMS = {
    "imagenet-lt": _LARGE,
    "places-lt": replace(_LARGE, epochs=30, batch_size=128, pretrained=True),
    "inaturalist2018": replace(_LARGE, epochs=200, weight_decay=1e-4),
}
"""Datasets with numbers of their own: section 4.1 of the paper."""


def default_terms(dataset: str) -> RecipeTerms:
    """Ours: a warm-up to the released code's peak for CIFAR, the paper's numbers elsewhere."""
    return LARGE_TERMS.get(dataset, _CIFAR)


def paper_terms(dataset: str) -> RecipeTerms:
    """The paper's text: a cosine from the first step on."""
    return LARGE_TERMS.get(dataset, replace(_CIFAR, peak_learning_rate=0.05, warmup_iterations=0))


def official_terms(dataset: str) -> RecipeTerms:
    """The released code: rates by epoch, two batches of each epoch not taken."""
    if dataset in LARGE_TERMS:
        return replace(LARGE_TERMS[dataset], by_epoch=True)
    return replace(_CIFAR, by_epoch=True, augmentation="autoaugment-cutout-official")
