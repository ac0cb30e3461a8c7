"""Every name a user can type. Imports nothing, so that `pipeline --help` stays instant.

The registries (`DATASETS`, `BACKBONES`, `RECIPES`, `METHODS`, `OPTIMIZERS`) hold the things
themselves; a test checks that their keys equal the tuples here.
"""

DATASETS = (
    "digits-lt",
    "cifar10-lt",
    "cifar100-lt",
    "imagenet-lt",
    "places-lt",
    "inaturalist2018",
    "folder",
    "list",
)
ON_BAD_IMAGE = ("fail", "skip")
BACKBONES = (
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet10",
    "resnet50",
    "resnet152",
    "resnext50_32x4d",
)
BACKBONE_LIBRARIES = ("torchvision", "timm")
PRIOR_COUNTS = ("train", "uniform")
RECIPES = ("default", "paper", "official")
SELECT_ON = ("last", "tune")
SMALL_AUGMENTATIONS = (
    "none",
    "crop",
    "crop-flip",
    "autoaugment-cutout",
    "autoaugment-cutout-official",
)
LARGE_AUGMENTATIONS = ("none", "resized-crop-flip", "resized-crop-jitter")
AUGMENTATIONS = (*SMALL_AUGMENTATIONS, *LARGE_AUGMENTATIONS[1:])

METHODS = (
    "softmax",
    "temperature",
    "logit-adjustment",
    "vector-scaling",
    "lws",
    "tau-norm",
    "marr",
)
OPTIMIZERS = ("lbfgs", "newton", "sgd")
PRESETS = ("default", "paper", "official")
CENTERS = ("zero", "identity", "logit-adjustment", "tempered")
REDUCTIONS = ("plain", "weighted")
FIT_VIEWS = ("augmented", "clean", "all")
TUNE = ("auto", "off")
TUNE_SCORES = ("nll", "accuracy")

SPLITS = ("train", "tune", "test")
STORES = ("both", "logits", "features")
DTYPES = ("float32", "float16")
BATCH_NORMS = ("eval", "train")
DEVICES = ("auto", "cpu", "cuda")
