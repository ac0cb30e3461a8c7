"""`export`: a rectified model that runs without this program.

What is affine in the features goes into the head of the checkpoint that the rectifier was fitted
on, or is a linear layer of its own; what is not goes into a graph. No file is left whose logits are
not those of the rectifier. K classes, D features, N rows.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marr_pipeline import __version__
from marr_pipeline.cache import Cache
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.normalise import Normalisation
from marr_pipeline.errors import ConfigError, DataError
from marr_pipeline.files import GRAPH, MODEL, FileName, Product, replacing
from marr_pipeline.rectify.prior.target import describe_prior
from marr_pipeline.rectify.rectifier import HeadRectifier, Rectifier
from marr_pipeline.rectify.rectifier_file import load_rectifier
from marr_pipeline.tensor_file import is_safetensors
from marr_pipeline.workflows.cached import CacheLike, opened
from marr_pipeline.workflows.distribution import (
    TARGET_PRIOR,
    Said,
    class_shares,
    moved,
    recorded_prior,
    say_moved,
)
from marr_pipeline.workflows.models.graph import (
    check_onnx,
    read_onnx,
    read_torch_export,
    trace,
    write_onnx,
    write_torch_export,
)
from marr_pipeline.workflows.models.rectified import Compared, RectifiedModel
from marr_pipeline.workflows.models.trained import read_trained
from marr_pipeline.workflows.suited import rectifier_for


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        rectifier: that is in the files, moved where a target prior was given.
        compared: each file, beside the rectifier.
        document: what the files take and give, as it stands in their metadata.
        notes: what was changed and left out, and what the files take.
        warnings: what needs a look.
    """

    rectifier: Rectifier
    compared: list[Compared]
    document: dict[str, Any]
    notes: list[str]
    warnings: list[str]

    def record(self) -> dict[str, Any]:
        """The JSON document of `pipeline export`."""
        return {
            "command": "export",
            **self.document,
            "compared": [vars(each) for each in self.compared],
            "notes": self.notes,
            "warnings": self.warnings,
        }


def export(
    rectifier: FileName,
    *,
    cache: CacheLike | None = None,
    checkpoint: FileName | None = None,
    output: FileName | None = None,
    onnx: FileName | None = None,
    torch_export: FileName | None = None,
    overwrite: bool = False,
    weights: str | None = None,
    by_order: bool = False,
    target_prior: Said | None = None,
    any_head: bool = False,
) -> Exported:
    """Write a rectified model in one or several forms, all of them or none.

    Args:
        rectifier: written by `rectify`.
        cache: that it was fitted on; of a whole head without a checkpoint it can be missing.
        checkpoint: the network that the cache was made of; None for the head alone.
        output: the checkpoint with its head rectified, in the container and under the names that it
            has; or the head alone, `weight` (K, D) and `bias` (K,) in `.safetensors`.
        onnx: the graph of images (N, C, H, W), or of features (N, D), to logits (N, K).
        torch_export: the same as a program of torch.export.
        overwrite: replace whatever files are there, not those of an export alone.
        weights: which network of the checkpoint, see `PhaseOneRequest`.
        by_order: take the checkpoint's tensors by their order.
        target_prior: class shares of the place where the model is used, which its logits are moved
            to; None for the prior that the rectifier stands for.
        any_head: accept a rectifier that was fitted on another head.

    Raises:
        CacheError: the cache is invalid.
        ConfigError: nothing to write, a cache is missing, or the packages that ONNX needs are.
        DataError: the rectifier, the cache and the checkpoint are not of one network; or what
            `output` asks for does not fold into its weights.
        PipelineError: a file cannot be written, or its logits are others than the rectifier's.
    """
    path, cached = Path(rectifier), None if cache is None else opened(cache)
    given = [path, *([Path(checkpoint)] if checkpoint else []), *([cached.path] if cached else [])]
    _check_request(given, checkpoint, cached, output=output, onnx=onnx, torch_export=torch_export)
    found = _rectifier(path, cached, any_head=any_head)
    names = found.metadata.get("class_names")
    if cached is not None and cached.class_names is not None:
        names = list(cached.class_names)
    warnings = []
    if target_prior is not None:
        counts = found.metadata.get("class_counts")
        counts = cached.class_counts if cached is not None else counts and np.array(counts)
        warnings = say_moved([str(path)] * (found.log_prior is None))
        shares = class_shares(
            target_prior, counts, names, option=TARGET_PRIOR, num_classes=found.num_classes
        )
        found = moved(found, shares)
    trained = None
    if checkpoint is not None and cached is not None:
        trained = read_trained(Path(checkpoint), cached, weights=weights, by_order=by_order)
        warnings += trained.notes
    model = RectifiedModel(found, cached, trained)
    reason = model.keeps_from_folding()
    if output is not None and reason:
        is_unit = isinstance(found, HeadRectifier) and found.normalise == "unit"
        refit = ", or fit the head with --normalise standard" if is_unit else ""
        raise DataError(
            f"{output}: a rectifier that goes into the weight and bias of a head expected, got "
            f"{reason}; give --onnx or --torch-export, whose graph has that step{refit}"
        )
    takes = model.takes()
    if takes["of"] == "images" and takes["batch_norm"] == "train":
        warnings.append(
            "the cache has logits by each batch's own statistics (--bn train); the model is that "
            "of evaluation, by those of training"
        )
    document = {
        "method": found.method,
        "prior": recorded_prior(found),
        "class_names": names,
        "takes": takes,
        "gives": "logits, whose softmax is the probabilities",
        "head_fingerprint": found.metadata.get("head_fingerprint"),
        "version": __version__,
    }
    compared: list[Compared] = []
    notes = []
    with ExitStack() as files:

        def partial(path: FileName, product: Product) -> Path:
            return files.enter_context(replacing(Path(path), product, overwrite=overwrite))

        if output is not None:
            file = partial(output, MODEL)
            notes += model.write_weights(file, document)
            compared += model.compare_weights(file, where=Path(output))
        if onnx is not None or torch_export is not None:
            notes.append(f"the graph takes {_described(takes)}")
            module, rows = model.graph(), model.rows()
            program = trace(module, rows.given, where=str(onnx or torch_export))
            if onnx is not None:
                write_onnx(file := partial(onnx, GRAPH), program, document, takes=takes["of"])
                compared.append(rows.compare(read_onnx(file), where=Path(onnx)))
            if torch_export is not None:
                write_torch_export(file := partial(torch_export, GRAPH), program, document)
                compared.append(rows.compare(read_torch_export(file), where=Path(torch_export)))
    notes.append(f"probabilities: for {describe_prior(found)}")
    return Exported(
        rectifier=found, compared=compared, document=document, notes=notes, warnings=warnings
    )


def _check_request(
    given: list[Path],
    checkpoint: FileName | None,
    cached: Cache | None,
    **outputs: FileName | None,
) -> None:
    """Refuse what cannot be before any file is read."""
    named = {name: Path(path) for name, path in outputs.items() if path is not None}
    if not named:
        raise ConfigError("-o, --onnx or --torch-export expected, got none of them; give one")
    taken = {path.resolve() for path in given}
    for path in named.values():
        if path.resolve() in taken:
            raise ConfigError(
                f"-o: a file of its own for each output expected, got {path} twice; choose another "
                "name"
            )
        taken.add(path.resolve())
    if "onnx" in named:
        check_onnx()
    if checkpoint is not None and cached is None:
        raise ConfigError(
            f"--cache: the cache that {checkpoint} made expected beside it, which knows its "
            "network and its head, got none; give it"
        )
    if "output" in named:
        is_plain = checkpoint is None or is_safetensors(Path(checkpoint))
        if is_plain != (named["output"].suffix == ".safetensors"):
            of = "a head alone is" if checkpoint is None else f"{checkpoint} is"
            raise ConfigError(
                f"-o {named['output']}: a name {'' if is_plain else 'not '}ending in .safetensors "
                f"expected, as {of} {'' if is_plain else 'not '}of that format"
            )


def _rectifier(path: Path, cached: Cache | None, *, any_head: bool) -> Rectifier:
    if cached is not None:
        return rectifier_for(cached, path, any_head=any_head)
    found = load_rectifier(path)
    if not isinstance(found, HeadRectifier):
        raise ConfigError(
            f"--cache: the cache that {path} was fitted on expected, whose head {found.method} is "
            "made for, got none; give it"
        )
    return found


def _described(takes: Mapping[str, Any]) -> str:
    """What goes into a graph, in words."""
    if takes["of"] == "features":
        return f"features (N, {takes['num_features']})"
    return (
        f"images (N, {', '.join(map(str, takes['shape']))}): {Framing(**takes['framing']).text}, "
        f"pixels in [0, 1] normalised by {Normalisation.from_record(takes).text}"
    )
