"""torch.autograd.functional's names: products with Jacobians and Hessians of a function at given inputs.

Results are constants unless `create_graph`. With `strict`, an input on which no result depends is an error instead of
zeros. `inputs` and what answers to them are one tensor, or a tuple of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from flame.autograd import transform
from flame.autograd.backward import grad
from flame.autograd.tree import filled, leaves
from flame.errors import GradError
from flame.ir.node import like
from flame.recording import Recording
from flame.tensor import Tensor

Inputs = Tensor | tuple[Tensor, ...]
__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _many(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _as_given(inputs: Any, found: tuple[Any, ...]) -> Any:
    return found if isinstance(inputs, (tuple, list)) else found[0]


def _shown(value: Any, create_graph: bool) -> Any:
    return value if create_graph else filled(value, [t.detach() for t in leaves(value)])


def _checked(name: str, func: Callable[..., Any], inputs: Sequence[Tensor], strict: bool) -> None:
    """Raise GradError where `strict` and a result does not depend on an input."""
    if not strict:
        return
    with Recording(True):
        fresh = [t.detach().requires_grad_() for t in inputs]
        for i, y in enumerate(_many(func(*fresh))):
            found = grad([y], fresh, [_ones(y)], allow_unused=True) if y.requires_grad else (None,) * len(fresh)
            if None in found:
                raise GradError(
                    f"{name}: result {i} does not depend on input {found.index(None)}, and strict=True asks"
                )


def _ones(t: Tensor) -> Tensor:
    return Tensor(like(t.node, 1), t.device)


def _vector(name: str, v: Any, like_: Any) -> tuple[Tensor, ...]:
    """`v`, or 1 for one number."""
    given = _many(like_)
    if v is not None:
        return _many(v)
    if len(given) != 1 or given[0].numel() != 1:
        raise GradError(f"{name}: v may be left out for one number only; pass v= of shapes {[t.shape for t in given]}")
    return (_ones(given[0]),)


def vjp(
    func: Callable[..., Any], inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(*inputs), v times its Jacobian)."""
    given = _many(inputs)
    _checked("vjp", func, given, strict)
    out, pull = transform.vjp(func, *given)
    seeds = iter(_vector("vjp", v, out))
    found = pull(filled(out, seeds))
    return _shown(out, create_graph), _shown(_as_given(inputs, found), create_graph)


def jvp(
    func: Callable[..., Any], inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(*inputs), its Jacobian times v)."""
    given = _many(inputs)
    _checked("jvp", func, given, strict)
    out, pushed = transform.jvp(func, given, _vector("jvp", v, inputs))
    return _shown(out, create_graph), _shown(pushed, create_graph)


def jacobian(
    func: Callable[..., Any],
    inputs: Inputs,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian at `inputs`: for each result and each input, (*result, *input). `vectorize`: it always is."""
    given = _many(inputs)
    _checked("jacobian", func, given, strict)
    if strategy not in ("reverse-mode", "forward-mode"):
        raise GradError(f"jacobian: strategy is {strategy!r}; choose 'reverse-mode' or 'forward-mode'")
    make = transform.jacrev if strategy == "reverse-mode" else transform.jacfwd
    every = tuple(range(len(given))) if isinstance(inputs, (tuple, list)) else 0
    return _shown(make(func, every)(*given), create_graph)


def hessian(
    func: Callable[..., Any],
    inputs: Inputs,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a function that returns one number, for each pair of inputs."""
    given = _many(inputs)
    _checked("hessian", func, given, strict)
    every = tuple(range(len(given))) if isinstance(inputs, (tuple, list)) else 0
    return _shown(transform.hessian(_one_number(func), every)(*given), create_graph)


def _one_number(func: Callable[..., Any]) -> Callable[..., Any]:
    def flat(*args: Any) -> Any:
        out = func(*args)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise GradError(f"the function must return one number, got {getattr(out, 'shape', out)}")
        return out.reshape(())

    return flat


def hvp(
    func: Callable[..., Any], inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(*inputs), its Hessian times v)."""
    given = _many(inputs)
    _checked("hvp", func, given, strict)
    every = tuple(range(len(given)))
    both = transform.value_and_grad(_one_number(func), every)
    (value, _), (_, product) = transform.jvp(both, given, _vector("hvp", v, inputs))
    return _shown(value, create_graph), _shown(
        product if isinstance(inputs, (tuple, list)) else product[0], create_graph
    )


def vhp(
    func: Callable[..., Any], inputs: Inputs, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(*inputs), v times its Hessian): what `hvp` gives, by reverse mode twice."""
    given = _many(inputs)
    _checked("vhp", func, given, strict)
    every = tuple(range(len(given)))
    (value, _), pull = transform.vjp(transform.value_and_grad(_one_number(func), every), *given)
    vectors = _vector("vhp", v, inputs)
    zero = Tensor(like(value.node, 0), value.device)
    product = pull((zero, vectors))
    return _shown(value, create_graph), _shown(
        product if isinstance(inputs, (tuple, list)) else product[0], create_graph
    )
