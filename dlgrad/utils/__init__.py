"""What stands beside the tensors: checkpoints of activations, and DLPack.

Floor 7.  `dlgrad.utils.checkpoint`, `dlgrad.utils.data` and `dlgrad.utils.dlpack` have PyTorch's
names.
"""

from dlgrad.utils import checkpoint as checkpoint
from dlgrad.utils import data as data
from dlgrad.utils import dlpack as dlpack
