"""Every name a user can type. Imports nothing, so that `pipeline --help` stays instant.

The registries (`DATASETS`, `BACKBONES`, `RECIPES`, `METHODS`, `OPTIMIZERS`) hold the things
themselves; a test checks that their keys equal the tuples here.
"""

DATASETS = ("digits-lt", "cifar10-lt", "cifar100-lt", "folder")
BACKBONES = ("resnet8", "resnet32")
RECIPES = ("default", "paper", "official")
AUGMENTATIONS = ("none", "crop", "crop-flip", "autoaugment-cutout")

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
DEVICES = ("auto", "cpu", "cuda")
