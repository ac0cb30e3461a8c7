"""Every name a user can type. Imports nothing, so that `pipeline --help` stays instant.

The registries (`DATASETS`, `AUGMENTATIONS`, `BACKBONES`, `METHODS`, `SOLVERS`) and `PROTOCOLS` hold
the things themselves; a test checks that their keys equal the tuples here.
"""

MAX_SEED = 2**64 - 1
MAX_ITERATIONS = 10**9
"""Of a training: at a thousand steps a second, twelve days."""
MAX_POINTS = 10_000
"""Of a range of numbers, and of a sweep."""

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
VAL_IS = ("tune", "test")
TORCHVISION_BACKBONES = ("resnet50", "resnet152", "resnext50_32x4d")
BACKBONES = (
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet10",
    *TORCHVISION_BACKBONES,
)
BACKBONE_LIBRARIES = ("torchvision", "timm")
OF_DATASET = "dataset"
NORMALISATIONS = ("cifar", "imagenet", "inaturalist", "clip", "half")
PRIOR_COUNTS = ("train", "uniform")
MIXINGS = ("none", "mixup", "cutmix")
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
    "bias",
    "bcts",
    "vector-scaling",
    "lws",
    "tau-norm",
    "marr",
    "crt",
    "balanced-softmax-head",
    "head",
    "ncm",
    "gda",
    "disalign",
    "tde",
)
TRAINING_METHODS = (
    "softmax",
    "cbs",
    "sqrt",
    "cbw",
    "class-balanced",
    "focal",
    "ldam",
    "ldam-drw",
    "equalization",
    "balanced-softmax",
    "lade",
    "seesaw",
    "oltr",
    "causal-norm",
    "bbn",
    "hybrid-sc",
)
REFERENCES = ("softmax", "logit-adjustment")
"""Methods that every other one is shown beside and set against."""
COMPARED = ("temperature", "bcts", "lws", "tau-norm", "marr", "marr:paper", "crt", "head")
"""What `compare` shows beside them unless told otherwise, as far as a cache can carry it."""
OPTIMIZERS = ("lbfgs", "newton", "sgd")
PRESETS = ("default", "paper", "official", "tempered")
HEAD_CENTERS = ("zero", "class-means", "gda", "cache")
AFFINE_CENTERS = ("zero", "identity", "logit-adjustment", "tempered")
CENTERS = (*AFFINE_CENTERS, *HEAD_CENTERS[1:], "file")
REDUCTIONS = ("plain", "weighted")
FEATURE_NORMALISATIONS = ("none", "unit", "standard")
SAMPLINGS = ("instance", "class-balanced")
DISALIGN_FORMS = ("paper", "cvpods")
SCALES = ("logits", "log-probabilities", "probabilities")
SOURCES = ("logits", "features")
FITTED_ROWS = ("seen", "held-out")
FIT_VIEWS = ("augmented", "clean", "all")
SET_SCORES = ("prevalence", "softmax")
CLASS_DISTRIBUTIONS = ("uniform", "train", "backward")
ESTIMATE = "estimate"
NEEDS_ROWS = "which is for the rows that apply is given"
"""What errors say of `estimate` elsewhere."""
FIGURES = (
    "curves",
    "confusion",
    "classwise",
    "gamma",
    "priors",
    "geometry",
    "reliability",
    "parameters",
    "forest",
)
EXPERIMENTS = (
    *("table1", "table2", "table3", "table4", "table5", "table6", "table7"),
    *("figure1", "figure2", "figure3", "figure4", "figure5", "figure6"),
)
FIGURE_WIDTHS = ("page", "column")
TABLE_FORMATS = ("terminal", "markdown", "latex", "csv")
TABLE_COLUMNS = (
    *("overall", "balanced", "many", "medium", "few"),
    *("macro_f1", "harmonic_mean", "worst_class", "nll", "ece"),
    *("vs_softmax", "vs_logit_adjustment", "margin_correlation", "logit_correlation"),
    *("parameters", "seconds", "status"),
)
TUNE = ("auto", "off")
TUNE_SCORES = ("nll", "accuracy")

CHECKS = tuple(f"R{number:02}" for number in range(1, 18))
"""Of what may be wrong, see docs/checks.md."""
SPLITS = ("train", "tune", "test")
STORES = ("both", "logits", "features")
DTYPES = ("float32", "float16")
BATCH_NORMS = ("eval", "train")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def canonical_backbone(name: str) -> str:
    """The one name of a network that has two: `torchvision:resnet50` is `resnet50`."""
    inner = name.removeprefix("torchvision:")
    return inner if inner in TORCHVISION_BACKBONES else name
