"""AdamW whose moments take one byte each: block-wise quantisation (Dettmers et al., arXiv:2110.02861).

A block of 256 values shares its largest magnitude, in float32; each value is a code of 8 bits on a curve that is finer
near 0: the first moment is sign(c) (|c| / 127)², the second (c / 255)⁴, times that magnitude. The paper looks its
curve up in a table; a power is computed in the kernel that updates the parameter, and nothing else is launched.
"""

from collections.abc import Callable

from flame.ir.dtype import float32, int8, uint8
from flame.ops.elementwise import where
from flame.ops.pad import pad
from flame.optim.adam import AdamW
from flame.optim.base import Blank, Group, State
from flame.tensor import Tensor

BLOCK = 256
SMALL = 4096  # parameters of fewer elements (norms, biases) keep whole moments, as in the paper


class AdamW8bit(AdamW):
    """AdamW with moments of 8 bits: 2.03 bytes of state a parameter instead of 8. Arguments are AdamW's.

    Parameters of fewer than 4096 elements keep whole moments. Steps follow AdamW's up to the codes' rounding (about
    1 % of a value). state_dict holds the codes and magnitudes under names of their own.
    """

    def initial(self, group: Group, param: Tensor) -> dict[str, Blank]:
        """Codes of zeros."""
        if not _coded(param):
            return super().initial(group, param)
        blocks = -(-param.numel() // BLOCK)
        codes, size = (blocks, BLOCK), ((blocks, 1), float32, 0.0)
        return {
            "exp_avg_code": (codes, int8, 0.0),
            "exp_avg_size": size,
            "exp_avg_sq_code": (codes, uint8, 0.0),
            "exp_avg_sq_size": size,
        }

    def update(
        self, group: Group, state: State, param: Tensor, grad: Tensor, number: Callable[[float], Tensor]
    ) -> dict[str, Tensor]:
        """AdamW's step on moments that are read from their codes and written to new ones."""
        if not _coded(param):
            return super().update(group, state, param, grad, number)
        signed = state["exp_avg_code"].to(param.dtype) * (1 / 127)
        root = state["exp_avg_sq_code"].to(param.dtype) * (1 / 255)
        moments = {
            "exp_avg": signed * signed.abs() * state["exp_avg_size"],
            "exp_avg_sq": (root * root) * (root * root) * state["exp_avg_sq_size"],
        }
        whole = {name: _flat(value, param) for name, value in moments.items()}
        new = super().update(group, {**state, **whole}, param, grad, number)
        mean, square = _blocks(new.pop("exp_avg")), _blocks(new.pop("exp_avg_sq"))
        largest, most = mean.abs().amax(-1, keepdim=True), square.amax(-1, keepdim=True)
        part = mean / where(largest > 0, largest, 1.0)
        new["exp_avg_code"] = (part.sign() * part.abs().sqrt() * 127.0).round().to(int8)
        new["exp_avg_sq_code"] = ((square / where(most > 0, most, 1.0)).sqrt().sqrt() * 255.0).round().to(uint8)
        return {**new, "exp_avg_size": largest, "exp_avg_sq_size": most}


def _coded(param: Tensor) -> bool:
    return param.numel() >= SMALL


def _flat(blocks: Tensor, param: Tensor) -> Tensor:
    """Blocks back in the shape of the parameter."""
    return blocks.reshape(-1)[: param.numel()].reshape(param.shape)


def _blocks(x: Tensor) -> Tensor:
    """Rows of one block each; zeros fill the last."""
    flat = x.reshape(-1)
    return pad(flat, (0, -flat.numel() % BLOCK)).reshape(-1, BLOCK)
