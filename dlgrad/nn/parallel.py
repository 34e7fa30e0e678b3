"""`DataParallel`, for programs that wrap a model in it where there may be several GPUs.

Floor 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlgrad.nn.module import Module


class DataParallel(Module):
    """The model in `module`, on the one device where it is, as in PyTorch with one GPU.

    NotImplementedError for several `device_ids`: dlgrad trains on one device.
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None,
        dim: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise NotImplementedError(
                f"dlgrad computes a model on one device, got device_ids={list(device_ids)!r}; "
                "leave them out"
            )
        self.module = module
        self.device_ids = list(device_ids or ())
        self.dim = dim

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)
