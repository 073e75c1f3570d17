"""Every operation that the surface promises is there under PyTorch's name, and has a case that compares it."""

import pytest

import flame
from tests.surface.case import cases

pytestmark = pytest.mark.parity


def names(text: str) -> list[str]:
    return text.split()


FUNCTIONS = names(
    """
    add sub subtract mul multiply div divide true_divide floor_divide fmod remainder pow float_power square
    reciprocal rsqrt sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh
    atanh arcsin arccos arctan arcsinh arccosh arctanh atan2 arctan2 hypot erf erfc erfinv sigmoid logit logaddexp
    logaddexp2 xlogy lerp addcmul addcdiv clamp clip clamp_min clamp_max maximum minimum fmax fmin sign sgn copysign
    signbit abs absolute neg negative positive frac trunc fix floor ceil round isnan isinf isfinite isposinf
    isneginf isclose nan_to_num where masked_fill heaviside sinc deg2rad rad2deg threshold eq ne lt le gt ge
    not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not bitwise_and
    bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift relu prelu rrelu selu celu softmax
    log_softmax sum mean prod amax amin aminmax max min argmax argmin any all var std var_mean std_mean norm
    logsumexp count_nonzero nansum nanmean median nanmedian cumsum cumprod cummax cummin logcumsumexp diff sort
    argsort topk kthvalue msort unique unique_consecutive bincount histc quantile nanquantile reshape flatten
    unflatten ravel squeeze unsqueeze permute transpose movedim moveaxis swapaxes swapdims t broadcast_to tile
    repeat_interleave narrow select chunk split tensor_split unbind cat concat stack hstack vstack dstack roll flip
    fliplr flipud rot90 tril triu diag diagonal diag_embed diagflat pixel_shuffle pixel_unshuffle meshgrid
    broadcast_tensors atleast_1d atleast_2d atleast_3d gather scatter scatter_add scatter_reduce index_select
    index_add index_copy index_fill index_put take take_along_dim masked_select masked_scatter nonzero searchsorted
    bucketize matmul mm bmm addmm baddbmm mv dot outer inner einsum tensordot kron addmv addr conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d
    """
)

FUNCTIONAL = names(
    """
    relu relu6 leaky_relu prelu rrelu elu selu celu gelu glu silu mish hardswish hardsigmoid hardtanh hardshrink
    softshrink tanhshrink softsign softplus logsigmoid threshold softmin softmax log_softmax gumbel_softmax
    normalize cosine_similarity pairwise_distance pad one_hot embedding pixel_shuffle pixel_unshuffle bilinear
    linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d unfold fold max_pool1d max_pool2d
    max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d max_unpool1d max_unpool2d max_unpool3d lp_pool1d
    lp_pool2d interpolate grid_sample affine_grid layer_norm group_norm rms_norm batch_norm instance_norm
    local_response_norm scaled_dot_product_attention l1_loss mse_loss smooth_l1_loss huber_loss cross_entropy
    nll_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div poisson_nll_loss gaussian_nll_loss
    hinge_embedding_loss cosine_embedding_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss ctc_loss
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout
    """
)

LINALG = names(
    """
    norm vector_norm matrix_norm inv solve cholesky qr svd eigh det slogdet pinv matrix_power
    """
)

RANDOM = names(
    """
    rand randn randint randperm rand_like randn_like randint_like normal bernoulli multinomial manual_seed Generator
    """
)  # compared statistically: tests/tensor/test_random.py

TRANSFORMS = names(
    """
    grad vjp jvp jacobian hessian vmap checkpoint
    """
)  # tests/tensor/test_autograd*.py

METHODS = names(
    """
    item tolist numpy backward detach clone contiguous view view_as expand expand_as reshape_as repeat unfold type
    to float half bfloat16 double long int bool cpu cuda requires_grad_ register_hook retain_grad uniform_ normal_
    random_ bernoulli_ exponential_ copy_ fill_ zero_ add_ mul_ sub_ div_ clamp_ index_add_ index_put_ scatter_
    scatter_add_ masked_fill_ new_zeros new_ones new_full new_empty new_tensor numel size dim stride element_size
    """
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str):
    assert callable(getattr(flame, name, None)), f"flame.{name}"


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional(name: str):
    assert callable(getattr(flame.nn.functional, name, None)), f"flame.nn.functional.{name}"


@pytest.mark.parametrize("name", LINALG)
def test_linalg(name: str):
    assert callable(getattr(flame.linalg, name, None)), f"flame.linalg.{name}"


@pytest.mark.parametrize("name", [*RANDOM, *TRANSFORMS])
def test_others(name: str):
    assert callable(getattr(flame, name, None)), f"flame.{name}"


@pytest.mark.parametrize("name", METHODS)
def test_method(name: str):
    assert callable(getattr(flame.Tensor, name, None)), f"Tensor.{name}"


RANDOMS = ("dropout", "rrelu", "gumbel_softmax")


def test_every_function_has_a_case():
    tested = {c.name.rpartition(".")[2] for c in cases()}
    promised = [*FUNCTIONS, *FUNCTIONAL, *LINALG]
    missing = [n for n in dict.fromkeys(promised) if n not in tested and not any(r in n for r in RANDOMS)]
    assert not missing, f"no case in tests/surface: {' '.join(missing)}"
