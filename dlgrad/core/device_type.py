"""`dlgrad.device`: the name of a place where tensors live, as PyTorch's `torch.device`.

Floor 6.
"""

from __future__ import annotations

from dlgrad import config
from dlgrad.runtime.device import canonical_device, get_backend


class device:
    """A device: `device("cpu")`, `device("cuda", 0)`, `device("cuda:0")`.

    `type` is "cpu", "cuda", "metal", "python" or "null"; `index` is a number, or None where
    there is only one.  Equal to another device of the same name, and to that name as a string.
    """

    __slots__ = ("name", "type", "index")

    def __init__(self, type: str | device, index: int | None = None) -> None:
        text = str(type) if index is None else f"{type}:{index}"
        self.name = canonical_device(text)
        kind, _, number = self.name.partition(":")
        self.type = kind
        self.index = int(number) if number else None

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (device, str)):
            return self.name == str(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[object, ...]:
        return (device, (self.name,))


DeviceLike = str | device | None

_default: list[str] = []
_known: dict[object, str] = {}
_objects: dict[str, device] = {}


def resolve_device(given: DeviceLike) -> str:
    """The canonical name of `given`; None means the default device.

    Raises DeviceError for a GPU that is not there.
    """
    if given is None:
        return _default[0] if _default else canonical_device(config.DEVICE.value)
    name = _known.get(given)
    if name is None:
        name = canonical_device(given)
        if name.partition(":")[0] in ("cuda", "metal"):
            get_backend(name)  # the call that asks for it is told, not the first evaluation
        _known[given] = name
    return name


def device_object(name: str) -> device:
    """The `device` of a canonical name."""
    found = _objects.get(name)
    if found is None:
        found = _objects[name] = device(name)
    return found


def set_default_device(given: DeviceLike) -> None:
    """The device of tensors that name none; None goes back to DLGRAD_DEVICE."""
    _default[:] = [] if given is None else [resolve_device(given)]


def get_default_device() -> device:
    """The device of tensors that name none."""
    return device_object(resolve_device(None))
