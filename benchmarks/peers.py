"""FLAME and what it is compared with: for each case, a call that can be timed and results that can be read.

One vocabulary (PyTorch's names) stands for three libraries: FLAME has it, torch has it, and for JAX it is written here.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import flame
import flame.nn.functional
from benchmarks.cases import Case
from flame import compiler, values
from flame.compiler import Program
from flame.ir.node import Node, fresh, leaf
from flame.ir.target import Target
from flame.runtime.device import Device
from flame.runtime.execute import Executable
from flame.tensor import Tensor


def vocabulary(name: str, *modules: Any, **more: Any) -> Any:
    """The names of modules, the last before the first, as one module (torch.compile looks into modules only)."""
    made = types.ModuleType(name)
    for each in modules:
        made.__dict__.update({k: v for k, v in vars(each).items() if not k.startswith("__")})
    made.__dict__.update(more)
    return made


def listed(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


# --- FLAME ------------------------------------------------------------------------------------------------------------
FLAME = vocabulary(
    "flame_names",
    flame,
    flame.nn.functional,
    contiguous=lambda x: x,
    to=lambda x, name: x.to(getattr(flame, name)),
    name_of=lambda x: x.dtype.name,
)


def dtype_of(name: str) -> Any:
    return {"bool": flame.bool}.get(name) or getattr(flame, name)


def graph(case: Case, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """What the case computes of its operands; for gradients the last tensors are those of the results."""
    if not case.wrt:
        return listed(case.function(FLAME, *tensors))
    count = len(case.operands)
    given = [t.detach().requires_grad_() if i < case.wrt else t for i, t in enumerate(tensors[:count])]
    results = listed(case.function(FLAME, *given))
    sum((out.float() * g.float()).sum() for out, g in zip(results, tensors[count:], strict=True)).backward()
    return tuple(t.grad for t in given[: case.wrt] if t.grad is not None)


@functools.cache
def results(case: Case) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Shape and dtype of each result of the case's function, which the gradients that it is given have too."""
    made = listed(case.function(FLAME, *_placeholders(case, flame.device("cpu"))))
    return tuple((tuple(t.shape), t.dtype.name) for t in made)


def _placeholders(case: Case, device: Device, gradients: tuple[Any, ...] = ()) -> list[Tensor]:
    """Operands without values: leaves numbered in their order."""
    shapes = [*((o.shape, o.of(case.dtype)) for o in case.operands), *gradients]
    return [Tensor(leaf(-1 - i, shape, dtype_of(name)), device) for i, (shape, name) in enumerate(shapes)]


def operands(case: Case) -> list[tuple[tuple[int, ...], str]]:
    """Shape and dtype of all that a call is given: a case's operands and, for gradients, those of its results."""
    own = [(o.shape, o.of(case.dtype)) for o in case.operands]
    return [*own, *results(case)] if case.wrt else own


def roots(case: Case, device: Device) -> tuple[Any, ...]:
    """The nodes that a case computes, of operands without values; two results may be one node."""
    return tuple(t.node for t in graph(case, _placeholders(case, device, results(case) if case.wrt else ())))


def program(case: Case, target: Target, device: Device | None = None) -> Program:
    """The compiled graph of a case: without a device, nothing is asked of one."""
    return compiler.compile_graph(tuple(dict.fromkeys(roots(case, device or flame.device("cpu")))), target)


class Flame:
    """A case's plan, replayed."""

    def __init__(self, case: Case, device: Device):
        self.case, self.device = case, device
        self.roots = roots(case, device)
        self.program = program(case, device.target, device)
        self.executable = Executable(self.program.plan, self.program.codes, device)
        self.launches = len(self.program.plan.steps)

    def call(self, given: list[list[Any]]) -> Callable[[int], Any]:
        """A call of each set of torch tensors, whose memory it reads."""
        leaves = [self.program.values[s] for s in self.program.plan.leaves]
        sets = [[self._value(n, each) for n in leaves] for each in given]
        return lambda turn: self.executable.run(sets[turn])

    def _value(self, node: Node, tensors: list[Any]) -> Any:
        """The memory of an operand, or of a table that the graph brought along."""
        return values.get(flame.from_dlpack(tensors[-1 - node["uid"]]).node if node["uid"] < 0 else node)

    def results(self, tensors: list[Any], torch: Any) -> list[Any]:
        """What one call computes, as torch tensors."""
        plan, made = self.program.plan, {}
        outputs = self.call([tensors])(0)
        for root, slot, value in zip(dict.fromkeys(self.roots), plan.outputs, outputs, strict=True):
            node = leaf(fresh(), plan.slots[slot].shape, plan.slots[slot].dtype)
            values.put(node, value)
            made[root] = torch.from_dlpack(Tensor(node, self.device))
        self.device.synchronize()
        return [made[root] for root in self.roots]

    def whole(self, tensors: list[Any]) -> Callable[[], Any]:
        """A user's call: the graph is built, its plan found, its kernels launched."""
        ours = [flame.from_dlpack(t) for t in tensors]
        return lambda: flame.realize(*graph(self.case, ours))


# --- torch ------------------------------------------------------------------------------------------------------------
@functools.cache
def torch_names() -> Any:
    import torch

    return vocabulary(
        "torch_names",
        torch,
        torch.nn.functional,
        contiguous=lambda x: x.contiguous(),
        to=lambda x, name: x.to(getattr(torch, name)),
        name_of=lambda x: str(x.dtype).removeprefix("torch."),
    )


def of_torch(case: Case, made: Callable[[Any], Any], given: list[list[Any]]) -> Callable[[int], Any]:
    """A call of each set; `made` compiles a function or leaves it as it is. Of gradients, the backward pass alone."""
    import torch

    function = made(functools.partial(case.function, torch_names()))
    if not case.wrt:
        return lambda turn: function(*given[turn])
    count, ready = len(case.operands), []
    for tensors in given:
        own = [t.detach().requires_grad_() if i < case.wrt else t for i, t in enumerate(tensors[:count])]
        ready.append((listed(function(*own)), own[: case.wrt], tensors[count:]))

    def run(turn: int) -> Any:
        outs, leaves, grads = ready[turn]
        return torch.autograd.grad(outs, leaves, grads, retain_graph=True)

    return run


def reference(case: Case, tensors: list[Any]) -> tuple[Any, ...]:
    """What torch computes in float64."""
    doubled = [t.double() if t.dtype.is_floating_point else t for t in tensors]
    return listed(of_torch(case, lambda f: f, [doubled])(0))


def adamw_of_torch(case: Case, given: list[list[Any]]) -> Callable[[int], Any]:
    """torch's own clipping and fused AdamW on as many tensors, where the formula's eager form would be no peer."""
    import torch

    n = len(case.operands) // 4
    params = [t.clone().requires_grad_() for t in given[0][:n]]
    for p, g in zip(params, given[0][n : 2 * n], strict=True):
        p.grad = g.clone()
    step = torch.optim.AdamW(params, lr=1e-3, fused=True)

    def run(turn: int) -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        step.step()

    return run


# --- JAX --------------------------------------------------------------------------------------------------------------
@functools.cache
def jax_names() -> Any:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)  # positions are int64, as for the others

    def norm(x: Any, axes: tuple[int, ...], eps: float) -> Any:
        x = x.astype(jnp.float32)
        d = x - x.mean(axes, keepdims=True)
        return d * jax.lax.rsqrt((d * d).mean(axes, keepdims=True) + eps)

    def layer_norm(x: Any, shape: Any, w: Any = None, b: Any = None, eps: float = 1e-5) -> Any:
        y = norm(x, (-1,), eps)
        return (y if w is None else y * w + b).astype(x.dtype)

    def rms_norm(x: Any, shape: Any, w: Any, eps: float) -> Any:
        y = x.astype(jnp.float32)
        return (y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + eps) * w).astype(x.dtype)

    def group_norm(x: Any, groups: int, w: Any = None, b: Any = None, eps: float = 1e-5) -> Any:
        y = norm(x.reshape(x.shape[0], groups, -1), (-1,), eps).reshape(x.shape)
        return (y if w is None else y * w[:, None] + b[:, None]).astype(x.dtype)

    def cross_entropy(x: Any, t: Any) -> Any:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(x, -1), t[:, None], 1)
        return -chosen.mean()

    same = ("sin", "cos", "exp", "log1p", "abs", "tanh", "where", "sqrt", "sum", "argmax", "roll", "flip", "stack")
    return types.SimpleNamespace(
        **{name: getattr(jnp, name) for name in (*same, "cumsum")},
        **{name: getattr(jax.nn, name) for name in ("silu", "softmax", "log_softmax")},
        layer_norm=layer_norm,
        rms_norm=rms_norm,
        group_norm=group_norm,
        cross_entropy=cross_entropy,
        gelu=lambda x, approximate="none": jax.nn.gelu(x, approximate == "tanh"),
        var=lambda x, axis: jnp.var(x, axis, ddof=1),
        amax=jnp.max,
        unsqueeze=jnp.expand_dims,
        clamp=lambda x, max: jnp.minimum(x, max),
        permute=jnp.transpose,
        contiguous=lambda x: x,
        cat=jnp.concatenate,
        pad=lambda x, by: jnp.pad(x, ((by[2], by[3]), (by[0], by[1]))),
        embedding=lambda i, w: w[i],
        gather=lambda x, axis, i: jnp.take_along_axis(x, i, axis),
        index_add=lambda x, axis, i, v: x.at[i].add(v),
        scatter_add=lambda x, axis, i, v: x.at[jnp.arange(x.shape[0])[:, None], i].add(v),
        sort=lambda x, axis: (jnp.sort(x, axis),),
        topk=lambda x, k, axis: jax.lax.top_k(x, k),
        to=lambda x, name: x.astype(name),
        name_of=lambda x: x.dtype.name,
    )


def of_jax(case: Case, given: list[list[Any]]) -> Callable[[int], Any]:
    """A jitted call of each set, which JAX reads where torch has it; it returns before the GPU is done."""
    import jax

    function = functools.partial(case.function, jax_names())
    count = len(case.operands)

    def gradient(*tensors: Any) -> Any:
        rest, grads = tensors[case.wrt : count], tensors[count:]
        outs, pull = jax.vjp(lambda *own: listed(function(*own, *rest)), *tensors[: case.wrt])
        return pull(tuple(g.astype(o.dtype).reshape(o.shape) for o, g in zip(outs, grads, strict=True)))

    made = jax.jit(gradient if case.wrt else function)
    sets = [[jax.dlpack.from_dlpack(t) for t in each] for each in given]
    return lambda turn: made(*sets[turn])
