"""What the user asks of phase one, checked before anything slow is loaded, and who hears of it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from marr_pipeline.errors import ConfigError
from marr_pipeline.names import MAX_SEED
from marr_pipeline.progress import Progress, silent


@dataclass(frozen=True)
class Listener:
    """Who is told of a run; by default nobody.

    Attributes:
        say: takes a line for the user.
        progress: makes of a label what shows how far a piece of work is.
    """

    say: Callable[[str], None] = lambda line: None
    progress: Callable[[str], Progress] = lambda label: silent


NOBODY = Listener()


@dataclass(frozen=True, kw_only=True)
class PhaseOneRequest:
    """What the user asks of phase one; None takes the dataset's or the recipe's default.

    The fields are the options of `pipeline train` and `pipeline extract`. `given` names those that
    were said on purpose though they have their default, which only matters beside a checkpoint.
    """

    dataset: str
    data_root: Path | None = None
    download: bool = False
    imbalance_ratio: float | None = None
    data_seed: int = 0
    tune_fraction: float = 0.0
    image_size: int | None = None
    normalisation: str | None = None
    list_train: Path | None = None
    list_tune: Path | None = None
    list_test: Path | None = None
    path_prefixes: tuple[str, ...] = ()
    on_bad_image: str = "fail"
    val_is: str | None = None
    class_order: Path | None = None
    exif: bool = False
    pixel_range: str | None = None
    seed: int = 0
    backbone: str | None = None
    checkpoint: Path | None = None
    weights: str | None = None
    new_head: bool = False
    by_order: bool = False
    pretrained: bool | None = None
    prior_counts: str | None = None
    method: str = "softmax"
    method_options: tuple[str, ...] = ()
    recipe: str = "default"
    select_on: str = "last"
    iterations: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    augmentation: str | None = None
    weight_decay: float | None = None
    mixing: str | None = None
    ema: float | None = None
    device: str = "auto"
    precision: str = "auto"
    channels_last: bool = True
    compile: bool = False
    sync_bn: bool = True
    workers: int | None = None
    resume: bool = True
    overwrite: bool = False
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, seed in (("seed", self.seed), ("data_seed", self.data_seed)):
            if not 0 <= seed <= MAX_SEED:
                raise ConfigError(f"{name}: 0 to 2^64 - 1 expected, got {seed}; choose another")
        if self.pretrained and self.checkpoint is not None:
            raise ConfigError(
                "--pretrained: one source of weights expected, got --checkpoint beside it; "
                "leave one of them out"
            )
        options = [text.partition("=")[0] for text in self.method_options]
        twice = [name for name in options if options.count(name) > 1]
        if twice:
            raise ConfigError(
                f"--method-option {twice[0]}: one value expected, got {len(twice)}; leave one"
            )
        for option, is_given in (
            ("--weights", self.weights is not None),
            ("--new-head", self.new_head),
            ("--by-order", self.by_order),
            ("--prior-counts", self.prior_counts is not None),
        ):
            beside = self.pretrained if option == "--prior-counts" else False
            if is_given and self.checkpoint is None and not beside:
                raise ConfigError(
                    f"{option}: a --checkpoint beside it expected, got none; leave {option} out"
                )

    @property
    def has_trained_weights(self) -> bool:
        """Whether extraction is told where the weights come from, and trains none."""
        return self.checkpoint is not None or bool(self.pretrained)

    def says(self, field: str) -> bool:
        """Whether that field was said on purpose."""
        default = {each.name: each.default for each in fields(self)}[field]
        return field in self.given or getattr(self, field) != default
