"""Where to train."""

import torch

from app.errors import TrainingError


class UnusableDeviceError(TrainingError):
    """The device asked for is not in this machine."""

    slug = "no_such_device"

    def __init__(self, device: str, found: int) -> None:
        super().__init__(
            f"device {device!r} was asked for, but PyTorch {torch.__version__} finds {found} CUDA devices here; "
            "use 'auto' or 'cpu', or install a CUDA build of PyTorch and the driver"
        )


def choose_device(name: str) -> torch.device:
    """The device for ``auto`` (CUDA when there is one, else CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises UnusableDeviceError when CUDA is asked for and absent.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if found else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= found:
        raise UnusableDeviceError(name, found)
    return device
