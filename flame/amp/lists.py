"""What autocast does to which operation: PyTorch's lists, as data.

A name is a public one: `flame.NAME`, `Tensor.NAME` and `flame.nn.functional.NAME` alike, or `linalg.NAME`. What stands
in no list of a device takes its operands as they are, and its results have the dtype they would have without autocast.
What FLAME writes in other operations, and PyTorch too, is listed by what follows there: `normalize` divides by `norm`.
"""

from enum import Enum


class Policy(Enum):
    """What becomes of an operation's floating operands; float64 is never touched."""

    LOW = "cast to the region's dtype"
    WIDE = "cast to float32, unless the call names a dtype"
    WIDEST = "cast to float32 if one of them is, else to the region's dtype"
    OPEN = "left as they are; what the operation is made of stands in the lists"
    WHOLE = "left as they are, inside the operation too"
    REFUSED = "refused: the result would overflow"


def _names(text: str, policy: Policy) -> dict[str, Policy]:
    return dict.fromkeys(text.split(), policy)


PRODUCTS = """
    matmul __matmul__ mm bmm addmm addbmm baddbmm linear prelu chain_matmul conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d scaled_dot_product_attention affine_grid linalg.matmul linalg.multi_dot
    linalg.vecdot
"""
LOSSES = """
    mse_loss l1_loss smooth_l1_loss huber_loss nll_loss kl_div cross_entropy binary_cross_entropy_with_logits
    poisson_nll_loss cosine_embedding_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss
    multilabel_margin_loss soft_margin_loss triplet_margin_loss
"""

CUDA = {
    **_names(PRODUCTS, Policy.LOW),
    **_names("mv addmv addr einsum", Policy.LOW),
    **_names(LOSSES, Policy.WIDE),
    **_names(
        """
        acos arccos asin arcsin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow __rpow__ square
        softplus softmax log_softmax softmin gumbel_softmax layer_norm rms_norm group_norm cosine_similarity dist pdist
        cdist pairwise_distance norm normalize linalg.norm linalg.vector_norm linalg.matrix_norm logsumexp prod sum
        cumprod cumsum interpolate upsample local_response_norm triplet_margin_with_distance_loss trapezoid trapz
        cumulative_trapezoid lp_pool3d __rtruediv__
        """,
        Policy.WIDE,
    ),
    **_names(
        """
        addcdiv addcmul atan2 arctan2 bilinear cross dot vdot inner grid_sample index_put scatter_add tensordot
        """,
        Policy.WIDEST,
    ),
    **_names("elu selu celu mish logsigmoid embedding_bag", Policy.WHOLE),
    "binary_cross_entropy": Policy.REFUSED,
}

CPU = {
    **_names(PRODUCTS, Policy.LOW),
    **_names("inner tensordot", Policy.LOW),
    **_names(LOSSES, Policy.WIDE),
    **_names(
        """
        binary_cross_entropy ctc_loss avg_pool3d lp_pool3d max_pool3d adaptive_avg_pool3d adaptive_max_pool3d
        max_unpool1d max_unpool2d max_unpool3d grid_sample cdist prod quantile nanquantile trace cholesky inverse
        pinverse linalg.inv linalg.cholesky linalg.solve linalg.qr linalg.svd linalg.svdvals linalg.eigh
        linalg.eigvalsh linalg.lstsq linalg.cond linalg.matrix_rank linalg.tensorinv linalg.tensorsolve
        """,
        Policy.WIDE,
    ),
    **_names("stack cat index_copy", Policy.WIDEST),
    "einsum": Policy.OPEN,
}

TABLES = {"cuda": CUDA, "cpu": CPU}
NAMES = frozenset(name for table in TABLES.values() for name in table)
