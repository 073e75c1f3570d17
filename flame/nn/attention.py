"""Multi-head attention with PyTorch's parameters, its memory-efficient form, and a cache of keys and values.

Shape suffixes: B batch, T any length, L queries, S keys and values, H heads, h heads of keys and values, E width of the
model, D = E / H.
"""

import math
from typing import Any

from flame.autograd.checkpoint import checkpoint
from flame.errors import FlameError, ShapeError
from flame.ir.dtype import DType, int64
from flame.nn import functional as F
from flame.nn import init
from flame.nn.functional.attention import attention_weights, repeat_heads
from flame.nn.layers import Linear
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.ops.create import arange, zeros
from flame.ops.elementwise import where
from flame.ops.join import cat
from flame.tensor import Tensor, realize, scalar

PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class KeyValueCache:
    """Keys and values of the places that an attention has seen, at most `length`: so that each is projected once.

    One belongs to one attention layer and one text; `used` is the number of places so far. Nothing is recompiled as it
    fills, and no gradients flow through it.

    >>> attend, cache = flame.nn.MultiheadAttention(8, 2, batch_first=True), flame.nn.KeyValueCache(16)
    >>> x = flame.randn(1, 5, 8)
    >>> parts = [attend(t, t, t, need_weights=False, cache=cache)[0] for t in (x[:, :4], x[:, 4:])]
    >>> [y.shape for y in parts], cache.used
    ([(1, 4, 8), (1, 1, 8)], 5)
    """

    def __init__(self, length: int) -> None:
        self.length, self.used = length, 0
        self.held: tuple[Tensor, ...] = ()

    def append(self, *new_BhTD: Tensor) -> tuple[Tensor, ...]:
        """All keys and values, (B, h, length, D) each, when new ones have taken the next places.

        Raises ShapeError where they are full.
        """
        batch, heads, count, width = new_BhTD[0].shape
        if self.used + count > self.length:
            raise ShapeError(f"KeyValueCache: {count} places after {self.used} are more than its length {self.length}")
        device = new_BhTD[0].device
        blank = [zeros(batch, heads, self.length, width, dtype=t.dtype, device=device) for t in new_BhTD]
        place = arange(self.length, device=device) - scalar(self.used, int64)
        fresh, source = ((place >= 0) & (place < count)).unsqueeze(-1), place.clamp(0, count - 1)
        pairs = zip(new_BhTD, self.held or blank, strict=True)
        self.held = tuple(where(fresh, t.detach().index_select(2, source), old) for t, old in pairs)
        realize(*self.held)
        self.used += count
        return self.held

    def hidden(self, count: int, device: Any) -> Tensor:
        """(count, length): True at the places that come after those of the last `count` queries."""
        query = arange(count, device=device) + scalar(self.used - count, int64)
        return query.unsqueeze(-1) < arange(self.length, device=device)


class MultiHeadAttention(Module):
    """Attention in several heads (Vaswani et al., arXiv:1706.03762), as torch.nn.MultiheadAttention.

    query (L, B, E), key (S, B, kdim), value (S, B, vdim), or batch first if so asked, or without a batch:
    → (output in the query's layout, weights (B, L, S) averaged over heads or, on demand, (B, H, L, S), or None).
    Parameters: `in_proj_weight` (3E, E), or `q_proj_weight`, `k_proj_weight`, `v_proj_weight` where kdim or vdim
    differ from E; `in_proj_bias` (3E); `out_proj.weight` (E, E); `out_proj.bias` (E); with add_bias_kv `bias_k`,
    `bias_v` (1, 1, E), one more key and value. With `num_kv_heads`, which PyTorch has not, several heads share keys and
    values (Ainslie et al., arXiv:2305.13245): `k_proj_weight` and `v_proj_weight` have num_kv_heads · D rows.
    Raises ShapeError when num_heads does not divide E, or num_kv_heads not num_heads.

    >>> attend = flame.nn.MultiHeadAttention(8, 2, batch_first=True)
    >>> x = flame.ones(3, 5, 8)
    >>> attend(x, x, x)[0].shape
    (3, 5, 8)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if embed_dim % num_heads:
            raise ShapeError(f"MultiHeadAttention: num_heads {num_heads} does not divide embed_dim {embed_dim}")
        if num_heads % self.num_kv_heads:
            raise ShapeError(f"MultiHeadAttention: num_kv_heads {num_kv_heads} does not divide num_heads {num_heads}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        shared = self.num_kv_heads * self.head_dim
        self.rows = (embed_dim, shared, shared)  # of the three projections
        alike = self.kdim == self.vdim == shared == embed_dim
        for name, rows, width in zip(PROJECTIONS, self.rows, (embed_dim, self.kdim, self.vdim), strict=True):
            self.register_parameter(name, None if alike else blank(rows, width, **made))
        packed = blank(3 * embed_dim, embed_dim, **made) if alike else None
        self.register_parameter("in_proj_weight", packed)
        self.register_parameter("in_proj_bias", blank(sum(self.rows), **made) if bias else None)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, blank(1, 1, shared, **made) if add_bias_kv else None)
        self.add_zero_attn = add_zero_attn
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new projections; biases become 0."""
        for name in ("in_proj_weight", *PROJECTIONS):
            if self._parameters[name] is not None:
                init.xavier_uniform_(self._parameters[name])
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """See the class. Masks as in PyTorch: boolean ones are True where attention is *forbidden*, others are added.

        `key_padding_mask` is (B, S), `attn_mask` (L, S) or (B·H, L, S). `is_causal` alone forbids later keys. With a
        `cache`, inputs are the places after those that it holds; they see these, themselves, and none that is later.
        """
        batched = query.ndim == 3
        laid = {id(x): self._batch_first(x, batched) for x in (query, key, value)}
        query, key, value = (laid[id(x)] for x in (query, key, value))
        q_BHLD, *pair = self._project(query, key, value)
        plain = attn_mask is None and key_padding_mask is None and self.bias_k is None and not self.add_zero_attn
        causal = is_causal and plain and cache is None and not need_weights
        if causal:
            mask = None
        elif cache is None:
            mask = self._mask(attn_mask, key_padding_mask, is_causal, query.shape, key.shape[1])
            pair, mask = self._more(pair, mask)
        else:
            if attn_mask is not None or key_padding_mask is not None or self.bias_k is not None or self.add_zero_attn:
                raise FlameError("MultiHeadAttention: with a cache there are no masks and no added keys")
            pair, mask = cache.append(*pair), additive(cache.hidden(query.shape[1], query.device))
        out_BHLD, weights = self._attend(q_BHLD, pair[0], pair[1], mask, need_weights, causal)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        output = self.out_proj(out_BHLD.transpose(1, 2).reshape(*query.shape[:2], self.embed_dim))
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _attend(
        self, q_BHLD: Tensor, k_BhSD: Tensor, v_BhSD: Tensor, mask: Tensor | None, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The values that queries see, and the weights if they are needed."""
        p = self.dropout if self.training else 0.0
        if not need_weights:
            options: dict[str, Any] = {"attn_mask": mask, "dropout_p": p, "is_causal": causal, "enable_gqa": True}
            return F.scaled_dot_product_attention(q_BHLD, k_BhSD, v_BhSD, **options), None
        k_BHSD, v_BHSD = (repeat_heads(x, q_BHLD) for x in (k_BhSD, v_BhSD))
        weights = F.dropout(attention_weights(q_BHLD, k_BHSD, mask, False, 1 / math.sqrt(self.head_dim)), p)
        return weights @ v_BHSD, weights

    def _more(self, pair: list[Tensor], mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """Keys and values with those of add_bias_kv and add_zero_attn behind them, which no mask forbids."""
        added: list[list[Tensor]] = [[], []]
        batch, heads, _, width = pair[0].shape
        if self.bias_k is not None:
            for end, bias in zip(added, (self.bias_k, self.bias_v), strict=True):
                end.append(bias.reshape(1, heads, 1, width).expand(batch, heads, 1, width))
        if self.add_zero_attn:
            for end, x in zip(added, pair, strict=True):
                end.append(zeros(batch, heads, 1, width, dtype=x.dtype, device=x.device))
        if not added[0]:
            return pair, mask
        grown = [cat([x, *end], 2) for x, end in zip(pair, added, strict=True)]
        return grown, None if mask is None else F.pad(mask, (0, len(added[0])))

    def _batch_first(self, x: Tensor, batched: bool) -> Tensor:
        """(B, T, width) of any input layout."""
        if x.ndim != (3 if batched else 2):
            raise ShapeError(
                f"MultiHeadAttention: an input of shape {tuple(x.shape)} beside a query "
                f"with{'' if batched else 'out'} a batch; give all three 3 dimensions, or all three 2"
            )
        if not batched:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _project(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, width) of query, key and value → (B, H or h, T, D) each; equal inputs share one product."""
        E, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is not None and inputs[0] is inputs[1] is inputs[2]:
            packed = F.linear(inputs[0], self.in_proj_weight, bias)
            q, k, v = (self._split(packed[..., i * E : (i + 1) * E]) for i in range(3))
            return q, k, v
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.split(self.rows)
        else:
            weights = [self._parameters[name] for name in PROJECTIONS]
        biases = [None] * 3 if bias is None else bias.split(self.rows)
        q, k, v = (self._split(F.linear(x, w, b)) for x, w, b in zip(inputs, weights, biases, strict=True))
        return q, k, v

    def _split(self, x_BTE: Tensor) -> Tensor:
        """(B, T, E) → (B, H, T, D), or with fewer heads."""
        return x_BTE.reshape(*x_BTE.shape[:2], -1, self.head_dim).transpose(1, 2)

    def _mask(
        self, mask: Tensor | None, padding: Tensor | None, is_causal: bool, query: tuple[int, ...], length: int
    ) -> Tensor | None:
        """One mask to add, (B or 1, H or 1, L, S), of all that forbid; None where nothing does."""
        batch, rows = query[:2]
        if mask is None and is_causal:
            place = arange(max(rows, length), device=self.out_proj.weight.device)
            mask = place[:rows].unsqueeze(-1) < place[:length]
        if mask is not None:
            mask = additive(mask)
            if mask.ndim == 3:
                mask = mask.reshape(batch, self.num_heads, rows, length)
            elif tuple(mask.shape) != (rows, length):
                raise ShapeError(f"MultiHeadAttention: attn_mask has shape {tuple(mask.shape)}, not {(rows, length)}")
        if padding is not None:
            if padding.ndim == 1:
                padding = padding.unsqueeze(0)
            if tuple(padding.shape) != (batch, length):
                raise ShapeError(
                    f"MultiHeadAttention: key_padding_mask has shape {tuple(padding.shape)}, not {(batch, length)}"
                )
            padding = additive(padding).reshape(batch, 1, 1, length)
            mask = padding if mask is None else mask + padding
        return mask


def additive(mask: Tensor) -> Tensor:
    """A mask to add to the scores, of one that is True where attention is forbidden; a floating one as it is."""
    if mask.dtype.is_float:
        return mask
    if mask.dtype.name != "bool":
        raise FlameError(f"MultiHeadAttention: a mask has dtype {mask.dtype}; give bool (True forbids) or floating")
    return where(mask, -math.inf, 0.0)


MultiheadAttention = MultiHeadAttention


class FlashAttention(MultiHeadAttention):
    """MultiheadAttention that keeps no L × S matrix for its gradient (after Dao et al., arXiv:2205.14135).

    Queries are taken `block` at a time; their weights are computed again when gradients are (`flame.checkpoint`), so
    what is kept between the two grows with L and S, not with their product. (Where one plan computes both, blocks of
    its backward half may lie in memory together.) Parameters, masks and results are MultiheadAttention's; the weights
    are not among them: `need_weights` is False, and True raises FlameError.

    >>> attend = flame.nn.FlashAttention(8, 2, batch_first=True, block=2)
    >>> x = flame.ones(3, 5, 8)
    >>> attend(x, x, x, is_causal=True)[0].shape
    (3, 5, 8)
    """

    def __init__(self, embed_dim: int, num_heads: int, *args: Any, block: int = 128, **options: Any) -> None:
        super().__init__(embed_dim, num_heads, *args, **options)
        if block < 1:
            raise ShapeError(f"FlashAttention: block is {block}; it must be 1 or more")
        self.block = block

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        *args: Any,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        if need_weights:
            raise FlameError("FlashAttention: it has no weights to give; use MultiheadAttention, or need_weights=False")
        return super().forward(query, key, value, key_padding_mask, False, *args, **options)

    def _attend(
        self, q_BHLD: Tensor, k_BhSD: Tensor, v_BhSD: Tensor, mask: Tensor | None, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The values that queries see: by a library that needs no matrix, or a block of queries after the other."""
        p = self.dropout if self.training else 0.0
        if not p and q_BHLD.dtype.size == 2 and "attention" in q_BHLD.device.target.libraries:
            return super()._attend(q_BHLD, k_BhSD, v_BhSD, mask, need_weights, causal)
        place = arange(max(q_BHLD.shape[2], k_BhSD.shape[2]), device=q_BHLD.device)

        def seen(q: Tensor, k: Tensor, v: Tensor, m: Tensor | None) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=m, dropout_p=p, enable_gqa=True)

        found = []
        for start in range(0, q_BHLD.shape[2], self.block):
            rows = slice(start, start + self.block)
            part = None if mask is None else mask[..., rows, :]
            if causal:
                part = place[: q_BHLD.shape[2]][rows].unsqueeze(-1) >= place[: k_BhSD.shape[2]]
            found.append(checkpoint(seen, q_BHLD[:, :, rows], k_BhSD, v_BhSD, part))
        return cat(found, 2), None
