"""Gradients of functions: `grad` and `value_and_grad`, which nest."""

import itertools
from collections.abc import Callable
from typing import Any

from flame.errors import GradError
from flame.ir.node import apply, like
from flame.passes.grad import gradients, ones
from flame.tensor import Tensor, enable_grad, new

_uid = itertools.count()


def value_and_grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns (value, gradients) of a function of tensors whose result is one number.

    The gradient is that of argument `argnums`, or a tuple for several. Values the function closes over are constants.
    What is returned is lazy and differentiable: the transformation nests. Raises GradError where the result is no
    single number.

    >>> import flame
    >>> value, slope = flame.value_and_grad(lambda x: (x * x).sum())(flame.tensor([1.0, 2.0]))
    >>> value.item(), slope.tolist()
    (5.0, [2.0, 4.0])
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        for i in numbers:
            if not isinstance(args[i], Tensor) or not args[i].dtype.is_float:
                raise GradError(f"argument {i} must be a floating Tensor to be differentiated, got {args[i]!r}")
            node = apply("mark", args[i].node, uid=next(_uid))
            given[i] = Tensor(node, args[i].device, True, is_leaf=False)
        with enable_grad():
            out = function(*given, **kwargs)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise GradError(
                f"the function must return one number, got {getattr(out, 'shape', out)}; reduce it, e.g. .sum()"
            )
        marked = tuple(given[i].node for i in numbers)
        found = gradients(out.node, ones(out.node), marked)
        parts = tuple(
            new(like(m, 0) if g is None else g, out.device, *_differentiable(args))
            for g, m in zip(found, marked, strict=True)
        )
        return out, parts[0] if isinstance(argnums, int) else parts

    return differentiated


def _differentiable(args: tuple[Any, ...]) -> list[Tensor]:
    return [a for a in args if isinstance(a, Tensor)]


def grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The gradient of a function of tensors whose result is one number; see `value_and_grad`.

    >>> import flame
    >>> cube = lambda x: x * x * x
    >>> flame.grad(flame.grad(cube))(flame.tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(function, argnums)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]
