"""A rectifier on the head that it was fitted on, with the network below it or alone.

K classes, D features, N rows. W'_j = scale_j W_j, b'_j = scale_j b_j + shift_j, where that is all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from marr_pipeline.backbone.networks.classifier import Backbone
from marr_pipeline.backbone.networks.heads import NormalisedHead
from marr_pipeline.cache import Cache, Head
from marr_pipeline.data.framing import Framing
from marr_pipeline.data.source import RESIDENT_UP_TO
from marr_pipeline.errors import DataError, PipelineError
from marr_pipeline.rectify.fold import RectifiedHead, fold_, folded
from marr_pipeline.rectify.inputs import LEFT_OUT
from marr_pipeline.rectify.rectifier import ConfidenceRectifier, HeadRectifier, Rectifier
from marr_pipeline.rectify.rows.source import unit_rows
from marr_pipeline.tensor_file import read_tensor_file, write_tensor_file
from marr_pipeline.workflows.models.graph import KEY, Function

if TYPE_CHECKING:
    from marr_pipeline.workflows.models.trained import Trained

TOLERANCE = 1e-5
"""Of the largest rectified logit; float32 alone differs by less than 1e-6."""
MAX_ROWS, MAX_LOGITS = 10_000, 2**24
"""Of a cache, that a head is compared on; of very many classes fewer rows."""
DRAWN_ROWS = 1000
"""Of features, where there are none to compare a head on."""
NUM_IMAGES = 6
"""Drawn, that a network is compared on; a file holds none."""
SPLITS = ("test", "tune", "train")
"""Whose features are taken, the first that is there."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a file makes of rows, beside the rectifier itself in float64.

    Attributes:
        path: of the file.
        rows: what went in, in words.
        difference: the largest of logits.
        relative: that over the largest logit.
        num_changed: rows with another prediction.
    """

    path: Path
    rows: str
    difference: float
    relative: float
    num_changed: int

    def __str__(self) -> str:
        predictions = f"in {self.num_changed} rows" if self.num_changed else "in none"
        return (
            f"{self.path}: logits differ by at most {self.difference:.1e} ({self.relative:.1e} of "
            f"the largest), predictions {predictions}, on {self.rows}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What a model takes, and what the rectifier makes of it in float64.

    Attributes:
        given: (N, ...) float32.
        expected: (N, K) float64.
        counted: (K,) bool, the classes that the prior does not leave out.
        said: what they are, in words.
    """

    given: Tensor
    expected: Tensor
    counted: Tensor
    said: str

    def compare(self, function: Function, *, where: Path) -> Compared:
        """What a function makes of them, of one row alone too.

        Raises:
            PipelineError: its logits are others.
        """
        with torch.no_grad():
            made = torch.cat([function(self.given[:1]), function(self.given[1:])]).double()
        off = (made - self.expected)[:, self.counted].abs().max()
        relative = float(off / self.expected[:, self.counted].abs().max())
        if not relative <= TOLERANCE:
            raise PipelineError(
                f"{where}: the rectifier's logits to within {TOLERANCE:.0e} of the largest "
                f"expected, got {relative:.1e} on {self.said}; nothing is written, as the model "
                "would predict otherwise"
            )
        changed = made.argmax(1) != self.expected.argmax(1)
        return Compared(
            path=where,
            rows=self.said,
            difference=float(off),
            relative=relative,
            num_changed=int(changed.sum()),
        )


@dataclass(frozen=True, eq=False)
class RectifiedModel:
    """A rectifier on the head that it was fitted on, with the network below or alone."""

    rectifier: Rectifier
    cached: Cache | None
    trained: "Trained | None"

    @property
    def head(self) -> Head | None:
        """That made the logits; none is needed of a whole head."""
        return None if self.cached is None else self.cached.head

    @property
    def network(self) -> Backbone | None:
        """Below it."""
        return None if self.trained is None else self.trained.network

    def keeps_from_folding(self) -> str:
        """The step between features and logits that is no linear layer; "" if there is none."""
        if isinstance(self.rectifier, ConfidenceRectifier):
            return f"{self.rectifier.method}, whose confidence is another for every sample"
        if self.network is not None and isinstance(self.network.head, NormalisedHead):
            return "a network whose head brings features to length 1"
        if isinstance(self.rectifier, HeadRectifier):
            is_unit = self.rectifier.normalise == "unit"
        else:
            is_unit = self.head is not None and self.head.normalise == "unit"
        return "a head for features of length 1" if is_unit else ""

    def takes(self) -> dict[str, Any]:
        """What goes into a graph: `of` says whether features (N, D) or images (N, C, H, W)."""
        if self.network is None:
            weight = self._weight()
            return {"of": "features", "num_features": weight.shape[1]}
        assert self.cached is not None
        config, transforms = self.cached.record("config"), self.cached.record("transforms")
        shape = [config["dataset"]["channels"], *config["dataset"]["image_size"]]
        known = transforms[_split(self.cached)]
        framing = Framing.of_training_code(shape[-1])
        if shape[-1] <= RESIDENT_UP_TO:
            framing = Framing(size=shape[-1], resized=shape[-1])
        return {
            "of": "images",
            "shape": shape,
            "framing": known.get("framing", framing.record()),
            "pixels": "in [0, 1], less mean, over std",
            **known["normalisation"],
            "batch_norm": transforms["train"]["batch_norm"],
        }

    def rows(self) -> Rows:
        """Drawn images of the network's size, or features."""
        if self.network is None:
            return self.features()
        takes = self.takes()
        images = torch.randn(NUM_IMAGES, *takes["shape"], generator=_generator())
        with torch.no_grad():
            features = self.network.eval()(images)[1]
        return self._rows(images, features, f"{NUM_IMAGES} drawn images")

    def features(self) -> Rows:
        """Those of the cache; drawn ones where it has none."""
        if self.cached is not None:
            split = _split(self.cached)
            known = self.cached.split(split)
            if known.features is not None:
                num_rows = min(MAX_ROWS, MAX_LOGITS // self.rectifier.num_classes)
                found = torch.from_numpy(known.features[known.clean_view][:num_rows]).float()
                return self._rows(found, found, f"the features of {len(found):,} rows of {split}")
        drawn = torch.randn(DRAWN_ROWS, self._weight().shape[1], generator=_generator())
        return self._rows(drawn, drawn, f"{DRAWN_ROWS:,} rows of drawn features")

    def graph(self) -> nn.Module:
        """From images, or features, to rectified logits."""
        head, network = self.head, self.network
        if network is not None and not self.keeps_from_folding():
            fold_(network.head, self.rectifier)
            return RectifiedNetwork(network, None)
        if head is None or head.weight is None:
            last = RectifiedHead(self.rectifier)
        else:
            weight, bias = self._weight(), self._bias()
            last = RectifiedHead(self.rectifier, weight, bias, unit=head.normalise == "unit")
        return last if network is None else RectifiedNetwork(network, last)

    def write_weights(self, path: Path, document: Mapping[str, Any]) -> list[str]:
        """The head folded into the checkpoint, or alone; what was changed and left out."""
        weight, bias = folded(self.rectifier, self._weight(), self._bias())
        header = {KEY: json.dumps(document)}
        if self.trained is None:
            alone = {"weight": weight.float(), "bias": bias.float()}
            write_tensor_file(path, alone, header={"format": "pt", **header})
            return [f"head: weight {tuple(weight.shape)} and bias, of features"]
        return self.trained.write(path, weight, bias, rectifier=self.rectifier, header=header)

    def compare_weights(self, path: Path, *, where: Path) -> list[Compared]:
        """The file read again: its head on features, its network on images.

        Raises:
            PipelineError: the logits are others.
        """
        rows = self.features()
        if self.trained is None:
            found = read_tensor_file(path)
            assert isinstance(found, dict)
            return [rows.compare(_linear(found["weight"], found["bias"]), where=where)]
        pairs, network = self.trained.read_again(path)
        compared = [rows.compare(_linear(*pair), where=where) for pair in pairs[:1]]
        if network is not None:
            whole = RectifiedNetwork(network.eval(), None)
            compared.append(self.rows().compare(whole, where=where))
        return compared

    def _rows(self, given: Tensor, features: Tensor, said: str) -> Rows:
        logits, exact = None, features.double()
        if not isinstance(self.rectifier, HeadRectifier):
            assert self.head is not None
            of_head = unit_rows(exact) if self.head.normalise == "unit" else exact
            bias = self._bias()
            logits = linear(
                of_head, self._weight().double(), None if bias is None else bias.double()
            )
        return Rows(
            given=given,
            expected=self.rectifier.apply(logits, exact),
            counted=self.rectifier.shift > 0.5 * LEFT_OUT,
            said=said,
        )

    def _weight(self) -> Tensor:
        """(K, D) of the head, or of the whole head in its place."""
        if isinstance(self.rectifier, HeadRectifier):
            return self.rectifier.weight
        if self.head is None or self.head.weight is None:
            assert self.cached is not None
            raise DataError(
                f"{self.cached.path}: the weight of the head expected, got logits without one; "
                "there is nothing to fold into: rectified = scale * logits + shift, by the two "
                "tensors of the rectifier's file"
            )
        return torch.from_numpy(self.head.weight)

    def _bias(self) -> Tensor | None:
        """(K,) of the head, if it has one."""
        known = None if self.head is None else self.head.bias
        return None if known is None else torch.from_numpy(known)


class RectifiedNetwork(nn.Module):
    """Rectified logits (N, K) of images (N, C, H, W).

    Args:
        network: whose head is folded, or whose features go on.
        last: what makes logits of these.
    """

    def __init__(self, network: Backbone, last: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        logits, features = self.network(images)[:2]
        rectified: Tensor = logits if self.last is None else self.last(features)
        return rectified


def _split(cached: Cache) -> str:
    """Of the rows that are taken."""
    return next(name for name in SPLITS if name in cached.splits)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _linear(weight: Tensor, bias: Tensor | None) -> Function:
    """As a linear layer of float32 has it."""
    return lambda rows: linear(rows, weight.float(), None if bias is None else bias.float())
