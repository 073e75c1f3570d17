"""Embedding and EmbeddingBag, with PyTorch's parameters."""

from typing import Any, ClassVar, Self

from flame.errors import IndexingError, ShapeError, StateError
from flame.ir.dtype import DType
from flame.nn import functional as F
from flame.nn import init
from flame.nn.module import Module
from flame.nn.parameter import Parameter, blank
from flame.ops.create import arange
from flame.ops.elementwise import where
from flame.tensor import Tensor


class _Table(Module):
    """A table of vectors: checks, starting values, and a table that is there already."""

    options: ClassVar[tuple[str, ...]] = ()  # what `from_pretrained` passes on

    def _setup(self, padding_idx: int | None, weight: Tensor | None, freeze: bool, made: dict[str, Any]) -> None:
        name, rows = type(self).__name__, self.num_embeddings
        if self.max_norm is not None or self.scale_grad_by_freq:
            raise StateError(
                f"{name}: max_norm and scale_grad_by_freq would change the weight or its gradient behind your back; "
                "renormalise the weight under flame.no_grad(), or scale its gradient, instead"
            )
        if padding_idx is not None:
            if not -rows <= padding_idx < rows:
                raise IndexingError(f"{name}: padding_idx is {padding_idx}, but there are {rows} rows")
            padding_idx %= rows
        self.padding_idx = padding_idx
        if weight is None:
            self.weight = blank(rows, self.embedding_dim, **made)
            self.reset_parameters()
        elif tuple(weight.shape) == (rows, self.embedding_dim):
            self.weight = Parameter(weight, not freeze)
        else:
            raise ShapeError(f"{name}: a table of shape {tuple(weight.shape)} is not {(rows, self.embedding_dim)}")

    def reset_parameters(self) -> None:
        """Draw a new table."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            rows = arange(self.num_embeddings, device=self.weight.device).unsqueeze(-1)
            init.set_(self.weight, where(rows == self.padding_idx, 0.0, self.weight))

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, *args: Any, **options: Any) -> Self:
        """A layer with this table, (rows, width), not trained unless `freeze` is False."""
        if embeddings.ndim != 2:
            raise ShapeError(f"{cls.__name__}.from_pretrained: a table has two dimensions, not {embeddings.ndim}")
        given = dict(zip(cls.options, args, strict=False)) | options
        made: Any = cls
        return made(*embeddings.shape, _weight=embeddings, _freeze=freeze, **given)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Embedding(_Table):
    """A table of vectors read by number. Integers (*) → (*, embedding_dim).

    `weight` is (num_embeddings, embedding_dim). The table starts normal with variance 1; the row `padding_idx` starts
    at 0 and gets no gradient. `sparse` has no effect; `max_norm` and `scale_grad_by_freq` raise StateError.

    >>> flame.nn.Embedding(10, 4)(flame.tensor([1, 9])).shape
    (2, 4)
    """

    options = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = (
            max_norm, norm_type, scale_grad_by_freq, sparse,
        )  # fmt: skip
        self._setup(padding_idx, _weight, _freeze, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor) -> Tensor:
        """Integers (*) → (*, embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)


class EmbeddingBag(_Table):
    """The sum, mean or max of the rows of each bag; see `functional.embedding_bag`.

    Integers (bags, n), or (n) with `offsets` where each bag begins → (bags, embedding_dim). `weight` starts normal with
    variance 1; the row `padding_idx` starts at 0 and belongs to no bag. Options without effect, or refused, as in
    Embedding.

    >>> flame.nn.EmbeddingBag(10, 4)(flame.tensor([1, 9, 3]), flame.tensor([0, 2])).shape
    (2, 4)
    """

    options = ("max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse", "include_last_offset", "padding_idx")

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        _freeze: bool = False,
    ) -> None:
        super().__init__()
        if mode not in ("sum", "mean", "max"):
            raise StateError(f"EmbeddingBag: mode must be 'sum', 'mean' or 'max', not {mode!r}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = (
            max_norm, norm_type, scale_grad_by_freq, sparse,
        )  # fmt: skip
        self.mode, self.include_last_offset = mode, include_last_offset
        self._setup(padding_idx, _weight, _freeze, {"device": device, "dtype": dtype})

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Integers (bags, n) or (n) → (bags, embedding_dim)."""
        options: dict[str, Any] = {"per_sample_weights": per_sample_weights, "padding_idx": self.padding_idx}
        last = self.include_last_offset
        return F.embedding_bag(input, self.weight, offsets, mode=self.mode, include_last_offset=last, **options)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}{padding}"
