"""Scaled dot-product attention.

Shape suffixes: B any leading dimensions, L queries, S keys and values, E width of queries and keys, V of values.
"""

import math

from flame.errors import FlameError, ShapeError
from flame.ir.node import apply
from flame.nn.functional.dropout import dropout
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.tensor import Tensor, new, same_device

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale · Q Kᵀ + mask) V (Vaswani et al., arXiv:1706.03762). (*, L, E), (*, S, E), (*, S, V) → (*, L, V).

    `scale` is 1/√E unless given. `attn_mask` broadcasts to (*, L, S): a boolean one is True where attention is
    allowed, a floating one is added. `is_causal` lets query i see keys 0 … i. A query that may see nothing gets zeros.
    `dropout_p` drops weights always, training or not. `enable_gqa` repeats each head (dimension -3) of key and value
    for as many heads of the query as share it (Ainslie et al., arXiv:2305.13245).
    Raises ShapeError when the shapes do not fit and FlameError for a mask together with is_causal.

    >>> q = k = v = flame.ones(1, 2, 4)
    >>> scaled_dot_product_attention(q, k, v, is_causal=True).shape
    (1, 2, 4)
    """
    check_attention(query, key, value, attn_mask, is_causal)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if enable_gqa:
        check_heads(key, query)
    if not dropout_p and is_one_operator(query, key, value, attn_mask, enable_gqa):
        return _attended(query, key, value, attn_mask, is_causal, scale)
    if enable_gqa:
        key, value = repeat_heads(key, query), repeat_heads(value, query)
    weight_BLS = attention_weights(query, key, attn_mask, is_causal, scale)
    return dropout(weight_BLS, dropout_p) @ value


def is_one_operator(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, shared: bool) -> bool:
    """True for what the operator `attention` takes: operands of one floating dtype, and axes that agree."""
    same = query.dtype is key.dtype is value.dtype and query.dtype.is_float
    lead, heads = query.shape[:-3], query.shape[-3:-2]
    agree = all(x.ndim == query.ndim and x.shape[:-3] == lead for x in (key, value))
    agree = agree and (shared or heads == key.shape[-3:-2]) and key.shape[-3:-2] == value.shape[-3:-2]
    added = mask is None or (not mask.requires_grad and 2 <= mask.ndim <= query.ndim)
    return same and agree and added and min(query.numel(), key.numel(), value.numel()) > 0


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
    """The operator `attention`; a query that may see nothing has zeros."""
    operands, blind = [query, key, value], None
    if mask is not None:
        mask = mask.reshape(*(1,) * (query.ndim - mask.ndim), *mask.shape)
        hidden = ~mask if mask.dtype.name == "bool" else mask == -math.inf
        blind = hidden.all(-1, keepdim=True)
        low = query.dtype.lowest / 2  # a row of -inf alone would be no number, and a score may be added to this
        boolean = mask.dtype.name == "bool"
        added = hidden.to(query.dtype) * low if boolean else mask.to(query.dtype).clamp(min=low)
        operands.append(added)
    device = same_device("scaled_dot_product_attention", *operands)
    nodes, attrs = [t.node for t in operands], {"scale": float(scale), "causal": bool(is_causal)}
    made = apply("attention", *nodes, **attrs)
    if "attention" in device.target.libraries and any(t.requires_grad for t in operands):
        stats = apply("attention_stats", *nodes, **attrs)  # of the same call: kept for a later gradient
        made = apply("after", made, stats, uid=0)
    out = new(made, device, *operands)
    return out if blind is None else where(blind, 0.0, out)


def attention_weights(query_BLE: Tensor, key_BSE: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
    """softmax(scale · Q Kᵀ + mask) of shape (B, L, S); a query that may see nothing has weights of zero."""
    score_BLS = (query_BLE * scale) @ key_BSE.transpose(-2, -1)
    if is_causal:
        rows, columns = score_BLS.shape[-2:]
        place = arange(max(rows, columns), device=query_BLE.device)
        mask = place[:rows].unsqueeze(-1) >= place[:columns]
    if mask is None:
        return score_BLS.softmax(-1)
    score_BLS = where(mask, score_BLS, -math.inf) if mask.dtype.name == "bool" else score_BLS + mask
    if is_causal:  # the first key is seen by every query
        return score_BLS.softmax(-1)
    blind = score_BLS.amax(-1, keepdim=True) == -math.inf
    return where(blind, 0.0, where(blind, 0.0, score_BLS).softmax(-1))


def check_heads(shared: Tensor, query: Tensor) -> None:
    """Raise ShapeError where the heads of keys cannot serve as many of queries each."""
    if shared.ndim < 3 or query.ndim < 3:
        raise ShapeError(
            f"scaled_dot_product_attention: enable_gqa with {tuple(query.shape)} and {tuple(shared.shape)}: there are "
            "no heads (dimension -3)"
        )
    heads, wanted = shared.shape[-3], query.shape[-3]
    if wanted % heads:
        raise ShapeError(f"scaled_dot_product_attention: {wanted} heads of queries cannot share {heads} of keys evenly")


def repeat_heads(shared: Tensor, query: Tensor) -> Tensor:
    """(*, h, S, E) → (*, H, S, E), each head H/h times in a row; raises ShapeError when h does not divide H."""
    check_heads(shared, query)
    heads, wanted = shared.shape[-3], query.shape[-3]
    *lead, _, length, width = shared.shape
    spread = shared.unsqueeze(-3).expand(*lead, heads, wanted // heads, length, width)
    return spread.reshape(*lead, wanted, length, width)


def check_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> None:
    """Raise what `scaled_dot_product_attention` says it raises."""
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(f"scaled_dot_product_attention: {shapes}: each needs at least (length, width)")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"scaled_dot_product_attention: {shapes}: query and key must share their width (last dimension), "
            "key and value their length (the one before)"
        )
    if mask is not None and is_causal:
        raise FlameError("scaled_dot_product_attention: give attn_mask or is_causal=True, not both")
