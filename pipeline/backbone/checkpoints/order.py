"""Tensors of a checkpoint whose names are another program's, told by the order they stand in.

The same network written twice registers its layers in the order in which it uses them, as a rule.
Where the tensors of a file are as many as the network's, have one by one the same shape and the
same last name (weight, bias, running_mean, running_var), and those of a layer stand in one layer,
they are taken to be these. Two layers of one shape that have changed places would not be noticed.
"""

from collections.abc import Mapping

from torch import Tensor

from marr_pipeline.backbone.networks.classifier import Backbone, Classifier
from marr_pipeline.errors import DataError

_COUNTER = "num_batches_tracked"


def named_by_order(
    found: Mapping[str, Tensor], model: Backbone, *, where: str, backbone: str
) -> dict[str, Tensor]:
    """The tensors under the network's own names; the last are the head's, of whatever classes.

    Args:
        found: the checkpoint's, in the order of the file.
        model: the network.
        where: how errors name the file.
        backbone: how errors name the network.

    Raises:
        DataError: they are not the network's in this order; the first that differs is named.
    """
    is_cut = isinstance(model, Classifier)
    head = next(iter(model.head_aliases), "head")
    body = {
        name.removeprefix("body.") if is_cut else name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("head.")
    }
    own = {name: tensor for name, tensor in body.items() if not name.endswith(_COUNTER)}
    own |= {f"{head}.weight": model.head.weight, f"{head}.bias": model.head.bias}
    theirs = [(name, tensor) for name, tensor in found.items() if not name.endswith(_COUNTER)]
    if len(theirs) == len(own) - 1:
        del own[f"{head}.bias"]  # a head without one
    if len(theirs) != len(own):
        raise DataError(
            f"{where}: the {len(own)} tensors of a {backbone} expected with --by-order, got "
            f"{len(theirs)}; is it another --backbone?"
        )
    layers: dict[str, str] = {}
    for place, ((name, tensor), (expected, shape)) in enumerate(
        zip(theirs, ((name, tensor.shape) for name, tensor in own.items()), strict=True)
    ):
        layer, _, kind = name.rpartition(".")
        own_layer, _, own_kind = expected.rpartition(".")
        skipped = 1 if own_layer == head else 0  # the number of classes
        is_alike = kind == own_kind and tensor.shape[skipped:] == shape[skipped:]
        if not is_alike or layers.setdefault(own_layer, layer) != layer:
            raise DataError(
                f"{where}: {expected} {tuple(shape)} of a {backbone} expected at place {place} "
                f"with --by-order, got {name} {tuple(tensor.shape)}; is it another --backbone?"
            )
    return dict(zip(own, (tensor for _, tensor in theirs), strict=True))
