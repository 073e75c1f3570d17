"""Scaled dot-product attention.

Shape suffixes: B any leading dimensions, L queries, S keys and values, E width of queries and keys, V of values.
"""

import math

from flame.errors import FlameError, ShapeError
from flame.nn.functional.dropout import dropout
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.tensor import Tensor

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
    if enable_gqa:
        key, value = repeat_heads(key, query), repeat_heads(value, query)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weight_BLS = attention_weights(query, key, attn_mask, is_causal, scale)
    return dropout(weight_BLS, dropout_p) @ value


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


def repeat_heads(shared: Tensor, query: Tensor) -> Tensor:
    """(*, h, S, E) → (*, H, S, E), each head H/h times in a row; raises ShapeError when h does not divide H."""
    heads, wanted = shared.shape[-3], query.shape[-3]
    if wanted % heads:
        raise ShapeError(f"scaled_dot_product_attention: {wanted} heads of queries cannot share {heads} of keys evenly")
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
