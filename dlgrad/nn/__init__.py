"""Layers and models, with PyTorch's names, arguments, parameter shapes and first values.

Floor 7.
"""

from dlgrad.nn import functional as functional
from dlgrad.nn import init as init
from dlgrad.nn import utils as utils
from dlgrad.nn.activation import (
    GELU,
    Dropout,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from dlgrad.nn.container import ModuleDict, ModuleList, Sequential
from dlgrad.nn.conv import Conv2d
from dlgrad.nn.linear import Flatten, Identity, Linear
from dlgrad.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from dlgrad.nn.module import Module
from dlgrad.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from dlgrad.nn.parameter import Parameter
from dlgrad.nn.pooling import AvgPool2d, MaxPool2d

__all__ = [
    "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Conv2d", "CrossEntropyLoss",
    "Dropout", "Flatten", "GELU", "Identity", "L1Loss", "LayerNorm", "LeakyReLU", "Linear",
    "LogSoftmax", "MSELoss", "MaxPool2d", "Module", "ModuleDict", "ModuleList", "NLLLoss",
    "Parameter", "ReLU", "Sequential", "SiLU", "Sigmoid", "Softmax", "Tanh", "functional",
    "init", "utils",
]  # fmt: skip
