"""Changes of images on their way to a model, with the names and arguments of torchvision.

Floor 7.  An image is a tensor (channels, height, width), a batch one dimension more in front.
"""

from dlgrad.data.transforms.at_random import (
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
)
from dlgrad.data.transforms.base import Compose, Lambda, Transform
from dlgrad.data.transforms.places import CenterCrop, Pad, Resize
from dlgrad.data.transforms.values import (
    ConvertImageDtype,
    Normalize,
    ToTensor,
    convert_image_dtype,
)

__all__ = [
    "CenterCrop", "Compose", "ConvertImageDtype", "Lambda", "Normalize", "Pad", "RandomAffine",
    "RandomCrop", "RandomErasing", "RandomHorizontalFlip", "RandomRotation",
    "RandomVerticalFlip", "Resize", "ToTensor", "Transform", "convert_image_dtype",
]  # fmt: skip
