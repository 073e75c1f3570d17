"""The functions behind Linear, LayerNorm and Bilinear."""

from collections.abc import Sequence

from flame.errors import ShapeError
from flame.tensor import Tensor

__all__ = ["bilinear", "layer_norm", "linear"]

HALF = ("float16", "bfloat16")  # statistics of these are computed in float32


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b. (*, in), (out, in), (out) → (*, out), all of one floating dtype.

    Raises ShapeError when the last dimension of the input is not the weight's `in`.

    >>> linear(flame.tensor([1.0, 2.0]), flame.tensor([[3.0, 4.0]]), flame.tensor([5.0])).numpy().tolist()
    [16.0]
    """
    if weight.ndim != 2 or input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: the input has shape {tuple(input.shape)} and the weight {tuple(weight.shape)}; "
            "the weight must be (out, in) and the input (*, in)"
        )
    product = input @ weight.transpose(0, 1)
    return product if bias is None else product + bias


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x₁ᵀ W x₂ + b for each output. (*, in1), (*, in2), (out, in1, in2), (out) → (*, out), all of one floating dtype.

    Raises ShapeError when the inputs' leading dimensions differ or the last are not the weight's.

    >>> bilinear(flame.tensor([2.0]), flame.tensor([3.0]), flame.tensor([[[4.0]]])).numpy().tolist()
    [24.0]
    """
    wanted = (input1.shape[-1:], input2.shape[-1:])
    if weight.ndim != 3 or wanted != (weight.shape[1:2], weight.shape[2:3]) or input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            f"bilinear: inputs {input1.shape} and {input2.shape} do not fit the weight {weight.shape}; they must be "
            "(*, in1), (*, in2) and (out, in1, in2)"
        )
    out, in1, in2 = weight.shape
    rows = (input2 @ weight.reshape(out * in1, in2).transpose(0, 1)).reshape(*input2.shape[:-1], out, in1)
    product = (rows * input1.unsqueeze(-2)).sum(-1)
    return product if bias is None else product + bias


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x − mean) / √(var + eps) · weight + bias over the last dimensions (Ba et al., arXiv:1607.06450).

    (*, normalized_shape) → the same; `var` is the biased variance; half precisions are computed in float32.
    Raises ShapeError when the input does not end in `normalized_shape`, or weight or bias have another shape.

    >>> layer_norm(flame.tensor([1.0, 3.0]), (2,), eps=0.0).numpy().tolist()
    [-1.0, 1.0]
    """
    shape = tuple(normalized_shape)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != shape:
            raise ShapeError(f"layer_norm: {name} has shape {tuple(value.shape)}, but normalized_shape is {shape}")
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(f"layer_norm: the input's shape {tuple(input.shape)} does not end in normalized_shape {shape}")
    dims = tuple(range(-len(shape), 0))
    x = input.float() if input.dtype.name in HALF else input
    centred = x - x.mean(dims, keepdim=True)
    y = centred * ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y.to(input.dtype)
