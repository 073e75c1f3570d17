"""torch.func's names: transformations of functions."""

from flame.autograd.transform import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, value_and_grad, vjp
from flame.autograd.vmap import vmap

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "value_and_grad", "vjp", "vmap"]
