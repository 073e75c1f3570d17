"""Convolutions by cuDNN: the graph of each form, every tensor with its channels last."""

from collections.abc import Callable
from math import prod
from typing import Any

from flame.ir.dnn import ConvolutionSpec
from flame.ir.dtype import by_name
from flame.runtime import lib_cudnn
from flame.runtime.choice import Place


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of (N, C, *S) in the order of its axes, in memory that is (N, *S, C)."""
    _, c, *size = shape
    inner = tuple(c * prod(size[i + 1 :]) for i in range(len(size)))
    return (c * prod(size), 1, *inner)


def describe(spec: ConvolutionSpec, graph: Any) -> list[Any]:
    """Both operands and the result in a graph of the library's."""
    first, second = (lib_cudnn.tensor(graph, s, strides(s), spec.dtype) for s in spec.operands)
    sides = {
        "pre_padding": spec.padding,
        "post_padding": spec.padding,
        "stride": spec.stride,
        "dilation": spec.dilation,
    }
    add = {"forward": graph.conv_fprop, "data": graph.conv_dgrad, "weight": graph.conv_wgrad}[spec.form]
    made = add(first, second, **{name: list(values) for name, values in sides.items()})
    return [first, second, lib_cudnn.result(made, spec.result, strides(spec.result), spec.dtype)]


def bind(spec: ConvolutionSpec, place: Place) -> Callable[..., None]:
    """The convolution as `run(first, second, result)` on addresses; DeclinedError where cuDNN has no algorithm."""
    size = by_name(spec.dtype).size
    sizes = [prod(s) * size for s in (*spec.operands, spec.result)]
    return lib_cudnn.bind("convolution", spec, place, lambda graph: describe(spec, graph), spec.dtype, sizes)
