"""Files by torch.save and `.safetensors` files, read without running any code in them."""

import pickle
import re
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from marr_pipeline.errors import DataError

_CLASS = re.compile(r"GLOBAL (\S+)")


def read_tensor_file(path: Path, *, mapped: bool = False) -> object:
    """What a file holds, its tensors on the CPU wherever they were saved from.

    Args:
        path: a `.safetensors` file, or one by torch.save in any of its formats.
        mapped: leave tensors in the file until they are used, where the format allows it.

    Raises:
        DataError: no such file, damaged, or it would need pickled code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Files older than torch 1.6 are no zip and cannot be mapped.
        is_mappable = mapped and zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            # What torch warns of, it then refuses; the one line of that error is enough.
            warnings.simplefilter("ignore")
            content: object = torch.load(
                path, map_location="cpu", weights_only=True, mmap=is_mappable
            )
    except pickle.UnpicklingError as error:
        # Its text is a page long and advises to run the code.
        found = _CLASS.search(str(error))
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got pickled "
            f"{f'objects ({found[1]})' if found else 'data of another kind'}; "
            "save plain tensors, no objects"
        ) from error
    except Exception as error:  # torch's reader meets a damaged byte with almost any of them
        raise DataError(
            f"{path}: a dict of tensors as .safetensors or by torch.save expected, got no file, or "
            f"one that is cut short or of another kind ({type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), 'no more is said')}); copy it again"
        ) from error
    return content
