"""Optimizers and learning-rate schedules, with PyTorch's names, arguments and state layout.

Floor 7.
"""

from dlgrad.optim import lr_scheduler
from dlgrad.optim.adam import Adam, AdamW
from dlgrad.optim.optimizer import Optimizer
from dlgrad.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
