"""Multi-head attention with PyTorch's parameters.

Shape suffixes: B batch, T any length, L queries, S keys and values, H heads, E width of the model, D = E / H.
"""

import math

from flame.errors import FlameError, ShapeError
from flame.ir.dtype import DType
from flame.nn import functional as F
from flame.nn import init
from flame.nn.functional.attention import attention_weights
from flame.nn.layers import Linear
from flame.nn.module import Module
from flame.nn.parameter import blank
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.tensor import Tensor

PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class MultiHeadAttention(Module):
    """Attention in several heads (Vaswani et al., arXiv:1706.03762), as torch.nn.MultiheadAttention.

    query (L, B, E), key (S, B, kdim), value (S, B, vdim), or batch first if so asked, or without a batch:
    → (output in the query's layout, weights (B, L, S) averaged over heads or, on demand, (B, H, L, S), or None).
    Parameters: `in_proj_weight` (3E, E), or `q_proj_weight`, `k_proj_weight`, `v_proj_weight` where kdim or vdim
    differ from E; `in_proj_bias` (3E); `out_proj.weight` (E, E); `out_proj.bias` (E).
    Raises ShapeError when num_heads does not divide E.

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
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ShapeError(f"MultiHeadAttention: num_heads {num_heads} does not divide embed_dim {embed_dim}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        made = {"device": device, "dtype": dtype}
        alike = self.kdim == self.vdim == embed_dim
        for name, width in zip(PROJECTIONS, (embed_dim, self.kdim, self.vdim)):
            self.register_parameter(name, None if alike else blank(embed_dim, width, **made))
        packed = blank(3 * embed_dim, embed_dim, **made) if alike else None
        self.register_parameter("in_proj_weight", packed)
        self.register_parameter("in_proj_bias", blank(3 * embed_dim, **made) if bias else None)
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
    ) -> tuple[Tensor, Tensor | None]:
        """See the class. Masks as in PyTorch: boolean ones are True where attention is *forbidden*, others are added.

        `key_padding_mask` is (B, S), `attn_mask` (L, S) or (B·H, L, S). `is_causal` alone forbids later keys.
        """
        batched = query.ndim == 3
        laid = {id(x): self._batch_first(x, batched) for x in (query, key, value)}
        query, key, value = (laid[id(x)] for x in (query, key, value))
        heads = self._project(query, key, value)
        mask = self._mask(attn_mask, key_padding_mask, is_causal, query.shape, key.shape[1])
        p = self.dropout if self.training else 0.0
        if need_weights:
            q_BHLD, k_BHSD, v_BHSD = heads
            weights = F.dropout(attention_weights(q_BHLD, k_BHSD, mask, False, 1 / math.sqrt(self.head_dim)), p)
            out_BHLD = weights @ v_BHSD
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            weights, out_BHLD = None, F.scaled_dot_product_attention(*heads, attn_mask=mask, dropout_p=p)
        output = self.out_proj(out_BHLD.transpose(1, 2).reshape(*query.shape[:2], self.embed_dim))
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

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
        """(B, T, width) of query, key and value → (B, H, T, D) each; equal inputs share one product."""
        E, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is not None and inputs[0] is inputs[1] is inputs[2]:
            packed = F.linear(inputs[0], self.in_proj_weight, bias)
            q, k, v = (self._split(packed[..., i * E : (i + 1) * E]) for i in range(3))
            return q, k, v
        if self.in_proj_weight is not None:
            weights = [self.in_proj_weight[i * E : (i + 1) * E] for i in range(3)]
        else:
            weights = [self._parameters[name] for name in PROJECTIONS]
        biases = [None if bias is None else bias[i * E : (i + 1) * E] for i in range(3)]
        q, k, v = (self._split(F.linear(x, w, b)) for x, w, b in zip(inputs, weights, biases))
        return q, k, v

    def _split(self, x_BTE: Tensor) -> Tensor:
        """(B, T, E) → (B, H, T, D)."""
        return x_BTE.reshape(*x_BTE.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

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
