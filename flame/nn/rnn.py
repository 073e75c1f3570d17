"""Recurrent layers: RNN, LSTM, GRU and their cells, with torch.nn's parameters and layouts.

Shape suffixes: T steps, B batch, H hidden size, I input size. The loop over time builds a graph of T steps; products
with the inputs of all steps are one product a layer.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from flame.errors import FlameError, ShapeError
from flame.ir.dtype import DType
from flame.nn import functional as F
from flame.nn import init
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.nn.utils.rnn import PackedSequence, lengths_of, packed_again, padded_sorted
from flame.ops.create import zeros
from flame.ops.elementwise import where
from flame.ops.join import cat, stack
from flame.tensor import Tensor

State = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, State], State]  # gates of the input, gates of the state, state -> the new state


def tanh_step(x: Tensor, h: Tensor, state: State) -> State:
    """h′ = tanh(x + h)."""
    return ((x + h).tanh(),)


def relu_step(x: Tensor, h: Tensor, state: State) -> State:
    """h′ = relu(x + h)."""
    return ((x + h).relu(),)


def lstm_step(x: Tensor, h: Tensor, state: State) -> State:
    """Input, forget, cell and output gates (Hochreiter and Schmidhuber, Neural Computation 1997)."""
    i, f, g, o = (x + h).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def gru_step(x: Tensor, h: Tensor, state: State) -> State:
    """Reset, update and new gates (Cho et al., arXiv:1406.1078)."""
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    reset, update = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    new = (xn + reset * hn).tanh()
    return (new + update * (state[0] - new),)


class RNNBase(Module):
    """Layers of one kind of cell, forwards and, if so asked, backwards."""

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    projects: ClassVar[bool] = False  # whether proj_size is an option

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if min(input_size, hidden_size, num_layers) < 1:
            raise ShapeError(f"{name}: sizes {input_size}, {hidden_size} and num_layers {num_layers} are 1 or more")
        if not 0 <= dropout <= 1:
            raise FlameError(f"{name}: dropout is {dropout}, but a probability lies between 0 and 1")
        if proj_size and (not self.projects or not 0 < proj_size < hidden_size):
            raise FlameError(f"{name}: proj_size is {proj_size}; it is LSTM's, and less than hidden_size {hidden_size}")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.proj_size = proj_size
        directions, rows, carried = 2 if bidirectional else 1, self.gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else carried * directions
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, carried), "bias_ih": (rows,), "bias_hh": (rows,)}
            shapes["weight_hr"] = (carried, hidden_size)
            for direction in range(directions):
                for key, kind in self._names(layer, direction).items():
                    self.register_parameter(key, blank(*shapes[kind], device=device, dtype=dtype))
        self.reset_parameters()

    def _names(self, layer: int, direction: int) -> dict[str, str]:
        """The parameters of one direction of a layer, in PyTorch's order: name, kind."""
        end = f"l{layer}{'_reverse' if direction else ''}"
        kinds = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * self.bias, *["weight_hr"] * bool(self.proj_size)]
        return {f"{kind}_{end}": kind for kind in kinds}

    def reset_parameters(self) -> None:
        """Uniform in ±1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size)
        for param in self.parameters():
            init.uniform_(param, -bound, bound)

    def step(self) -> Step:
        """The cell."""
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """(T, B, I), (B, T, I) if batch_first, or (T, I) → (outputs alike with H · directions, final state).

        A state is (num_layers · directions, B, H); LSTM's is a pair of them, (h, c). With proj_size, outputs and h have
        that width instead of H. A PackedSequence gives another one; states are in the order of its batch.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        batched = input.ndim == 3
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: the input has shape {tuple(input.shape)}; it must be 2-d or 3-d and end in "
                f"input_size={self.input_size}"
            )
        x = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input
        x, last = self._layers(x, self._start(x, hx, batched), None)
        last = last if batched else tuple(s.squeeze(1) for s in last)
        y = x.squeeze(1) if not batched else x.transpose(0, 1) if self.batch_first else x
        return y, last if self.states > 1 else last[0]

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """Padded inside: behind a sequence's end its state stays as it is, in both directions."""
        if input.data.ndim != 2 or input.data.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: the packed data has shape {tuple(input.data.shape)}; it must be 2-d and end "
                f"in input_size={self.input_size}"
            )
        lengths = lengths_of(input)
        x, inside = padded_sorted(input, lengths)
        start = self._start(x, hx, True)
        if hx is not None and input.sorted_indices is not None:
            start = tuple(s.index_select(1, input.sorted_indices) for s in start)
        y, last = self._layers(x, start, inside.unsqueeze(-1))
        if input.unsorted_indices is not None:
            last = tuple(s.index_select(1, input.unsorted_indices) for s in last)
        return packed_again(y, input, lengths), last if self.states > 1 else last[0]

    def _layers(self, x: Tensor, start: State, inside: Tensor | None) -> tuple[Tensor, State]:
        """All layers over (T, B, I), and their final states; where it is not `inside`, (T, B, 1), states stay."""
        directions, finals = 2 if self.bidirectional else 1, []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                first = tuple(s[layer * directions + direction] for s in start)
                there, mask = (x.flip(0), None if inside is None else inside.flip(0)) if direction else (x, inside)
                out, final = self._run(there, first, self._names(layer, direction), mask)
                outputs.append(out.flip(0) if direction else out)
                finals.append(final)
            x = cat(outputs, -1) if directions == 2 else outputs[0]
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout)
        return x, tuple(stack([f[i] for f in finals]) for i in range(self.states))

    def _start(self, x: Tensor, hx: Any, batched: bool) -> State:
        """The state before the first step, (layers · directions, B, H) each, or the projection's width instead of H."""
        lead = (self.num_layers * (2 if self.bidirectional else 1), x.shape[1])
        shapes = [(*lead, self.proj_size or self.hidden_size), (*lead, self.hidden_size)][: self.states]
        if hx is None:
            return tuple(zeros(*shape, dtype=x.dtype, device=x.device) for shape in shapes)
        given = tuple(hx) if self.states > 1 else (hx,)
        given = given if batched else tuple(s.unsqueeze(1) for s in given)
        if [tuple(s.shape) for s in given] != shapes:
            raise ShapeError(f"{type(self).__name__}: hx has shapes {[tuple(s.shape) for s in given]}, not {shapes}")
        return given

    def _run(self, x_TBI: Tensor, state: State, names: dict[str, str], inside: Tensor | None) -> tuple[Tensor, State]:
        """One direction of one layer over all steps."""
        own = {kind: self._parameters[name] for name, kind in names.items()}
        gates, step, outputs = F.linear(x_TBI, own["weight_ih"], own.get("bias_ih")), self.step(), []
        state = _as_gates(state, gates, own["weight_ih"])
        for t in range(x_TBI.shape[0]):
            before = state
            state = step(gates[t], F.linear(state[0], own["weight_hh"], own.get("bias_hh")), state)
            if self.proj_size:
                state = F.linear(state[0], own["weight_hr"]), *state[1:]
            if inside is not None:
                state = tuple(where(inside[t], new, old) for new, old in zip(state, before, strict=True))
            outputs.append(state[0])
        return stack(outputs), state

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        parts += [f"proj_size={self.proj_size}"] if self.proj_size else []
        plain = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        parts += [f"{n}={getattr(self, n)}" for n, usual in plain.items() if getattr(self, n) != usual]
        return ", ".join(parts)


class RNN(RNNBase):
    """h′ = tanh(W x + b + U h + c), or relu (Elman, Cognitive Science 1990), as torch.nn.RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise FlameError(f"RNN: nonlinearity is {nonlinearity!r}; choose 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity

    def step(self) -> Step:
        """By the nonlinearity."""
        return tanh_step if self.nonlinearity == "tanh" else relu_step


class LSTM(RNNBase):
    """Long short-term memory, as torch.nn.LSTM; gates in the order input, forget, cell, output.

    With `proj_size`, h is a product of the step's output with `weight_hr` (Sak et al., arXiv:1402.1128).

    >>> y, (h, c) = flame.nn.LSTM(3, 4)(flame.ones(5, 2, 3))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    gates, states, projects = 4, 2, True

    def step(self) -> Step:
        """See `lstm_step`."""
        return lstm_step


class GRU(RNNBase):
    """Gated recurrent unit, as torch.nn.GRU; gates in the order reset, update, new."""

    gates = 3

    def step(self) -> Step:
        """See `gru_step`."""
        return gru_step


def _as_gates(state: State, gates: Tensor, weight: Tensor) -> State:
    """The state in the dtype of the gates where it is not the weights', which is under autocast."""
    return state if gates.dtype is weight.dtype else tuple(s.to(gates.dtype) for s in state)


class RNNCellBase(Module):
    """One step of a recurrent layer. input (B, I) or (I), state (B, H) or (H) → the new state."""

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self.gates * hidden_size
        self.weight_ih = blank(rows, input_size, device=device, dtype=dtype)
        self.weight_hh = blank(rows, hidden_size, device=device, dtype=dtype)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, blank(rows, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    reset_parameters = RNNBase.reset_parameters
    step = RNNBase.step

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """See the class."""
        if hx is None:
            shape = (*input.shape[:-1], self.hidden_size)
            state = tuple(zeros(*shape, dtype=input.dtype, device=input.device) for _ in range(self.states))
        else:
            state = tuple(hx) if self.states > 1 else (hx,)
        gates = F.linear(input, self.weight_ih, self.bias_ih)
        state = _as_gates(state, gates, self.weight_ih)
        state = self.step()(gates, F.linear(state[0], self.weight_hh, self.bias_hh), state)
        return state if self.states > 1 else state[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of RNN."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", **made: Any):
        super().__init__(input_size, hidden_size, bias, **made)
        self.nonlinearity = nonlinearity

    def step(self) -> Step:
        """By the nonlinearity."""
        return tanh_step if self.nonlinearity == "tanh" else relu_step


class LSTMCell(RNNCellBase):
    """One step of LSTM: (h, c) → (h′, c′)."""

    gates, states = 4, 2

    def step(self) -> Step:
        """See `lstm_step`."""
        return lstm_step


class GRUCell(RNNCellBase):
    """One step of GRU."""

    gates = 3

    def step(self) -> Step:
        """See `gru_step`."""
        return gru_step
