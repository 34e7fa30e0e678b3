"""`autocast` and `GradScaler` under their older names, `dlgrad.cuda.amp`, for the device "cuda".

Floor 7.
"""

from __future__ import annotations

from dlgrad import amp
from dlgrad.core.autocasting import autocast as any_autocast
from dlgrad.dtype import DType, float16

__all__ = ["GradScaler", "autocast"]


class autocast(any_autocast):
    """`dlgrad.autocast("cuda", ...)`."""

    def __init__(
        self, enabled: bool = True, dtype: DType = float16, cache_enabled: bool = True
    ) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """`dlgrad.amp.GradScaler("cuda", ...)`."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        super().__init__(
            "cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled
        )
