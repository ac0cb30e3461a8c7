"""What a time was measured on."""

import os
import platform

import torch

Machine = dict[str, str | int | float]
"""A record of a machine."""


def machine(device: torch.device) -> Machine:
    """Processors, threads and versions, for the head of a record.

    `load_average` is the system's, of the last minute, this process included: well above
    `threads` it says that other work disturbed the times.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": device.type,
        "device_name": name,
        "cpu_count": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.system(),
    }
