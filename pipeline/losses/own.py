"""A training loss of a user's own: a function of a batch's logits and labels.

    loss(logits (N, K), labels (N,), *, class_counts (K,), progress, ...) -> a scalar

Of `class_counts` and `progress` it is given what it names; others with a default are its options.
"""

import inspect
from functools import wraps
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from marr_pipeline.errors import PluginError
from marr_pipeline.losses.plain import Loss
from marr_pipeline.plugins import Function, call


def own_loss(name: str, loss: Function) -> Loss:
    """The loss, told apart from the program when it raises.

    `functools.wraps` keeps the signature, from which the options are read.
    """
    asked = inspect.signature(loss).parameters.keys()
    what = f"loss {name}"

    @wraps(loss)
    def of_batch(logits: Tensor, labels: Tensor, **given: object) -> Tensor:
        named = {key: value for key, value in given.items() if key in asked}
        found = call(loss, logits, labels, what=what, **named)
        if not isinstance(found, Tensor) or found.ndim:
            got = tuple(found.shape) if isinstance(found, Tensor) else repr(found)
            raise PluginError(f"{what}: a tensor of shape () expected from it, got {got}")
        return found

    return of_batch


def code_of(function: Function) -> str:
    """A digest of the file that a function is in, so that a training goes on with no other."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        path = None
    if path is None or not Path(path).is_file():
        return ""
    return sha256(Path(path).read_bytes()).hexdigest()
