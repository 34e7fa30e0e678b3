"""Optimizers and learning-rate schedules, with PyTorch's names, arguments and state layout.

Floor 7.
"""

from dlgrad.optim import lr_scheduler, swa_utils
from dlgrad.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from dlgrad.optim.large import LAMB, Adafactor, Lion, Muon
from dlgrad.optim.lbfgs import LBFGS
from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.rates import Adadelta, Adagrad, RMSprop, Rprop
from dlgrad.optim.sgd import ASGD, SGD

__all__ = [
    "ASGD", "LAMB", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW",
    "Adamax", "Lion", "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop",
    "lr_scheduler", "swa_utils",
]  # fmt: skip
