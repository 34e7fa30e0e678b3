"""Functions that make functions of functions: derivatives, and one row to all rows.

Floor 6.  `dlgrad.func` has the names of `torch.func`; `vmap` is also `dlgrad.vmap`.
"""

from dlgrad.func.derivatives import grad, grad_and_value, jvp, value_and_grad, vjp
from dlgrad.func.jacobians import hessian, jacfwd, jacrev
from dlgrad.func.modules import functional_call, stack_module_state
from dlgrad.func.vmapping import vmap

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
    "stack_module_state", "value_and_grad", "vjp", "vmap",
]  # fmt: skip
