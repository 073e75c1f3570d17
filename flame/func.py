"""torch.func's names: transformations of functions."""

from flame.autograd.transform import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, value_and_grad, vjp
from flame.autograd.vmap import vmap
from flame.nn.stateless import functional_call

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "value_and_grad",
    "vjp",
    "vmap",
]
