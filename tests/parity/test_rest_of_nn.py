"""What stands at torch.nn's edges, beside it: orthogonal maps, the first spectral_norm, fractional pools, second names.

And SyncBatchNorm, fused weights, distributed samplers, stacked datasets, limits of dtypes.
"""

import numpy as np
import pytest

import flame
from flame import nn
from flame.errors import DataError, DTypeError, FlameError, ShapeError
from flame.nn import functional as F
from tests.parity.both import torch
from tests.surface.sides import interpreted

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:.*(torch.nn.utils.spectral_norm|upsample)")]
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def by_the_oracle():
    with interpreted():
        yield


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def close(mine, other, tolerance=2e-5):
    np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=tolerance, atol=tolerance)


def copied(theirs):
    return {k: flame.tensor(v.numpy()) for k, v in theirs.state_dict().items()}


# --- orthogonal -------------------------------------------------------------------------------------------------------
MAPS = [
    (4, 4, {}), (4, 4, {"orthogonal_map": "cayley"}), (4, 4, {"orthogonal_map": "householder"}), (3, 6, {}), (6, 3, {}),
    (6, 3, {"orthogonal_map": "matrix_exp"}), (3, 6, {"orthogonal_map": "cayley"}),
    (5, 5, {"use_trivialization": False}), (6, 3, {"orthogonal_map": "cayley", "use_trivialization": False}),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "columns", "options"), MAPS, ids=str)
def test_an_orthogonal_weight_trains_as_pytorchs(rows, columns, options):
    theirs = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(columns, rows), **options)
    ours = nn.utils.parametrizations.orthogonal(nn.Linear(columns, rows), **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    if not options.get("use_trivialization", True):
        with torch.no_grad():
            theirs.parametrizations.weight.original.mul_(0.5)
    ours.load_state_dict(copied(theirs))
    close(ours.weight, theirs.weight)
    x = numbers(8, columns)
    for library, layer in ((flame, ours), (torch, theirs)):
        optimizer = library.optim.SGD(layer.parameters(), lr=0.2)
        for _ in range(5):
            optimizer.zero_grad()
            (layer(library.tensor(x)) - 1).square().sum().div(8).backward()
            optimizer.step()
    close(ours.weight, theirs.weight, 2e-4)
    w = ours.weight.detach().numpy()
    product = w.T @ w if rows >= columns else w @ w.T
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=2e-5)


def test_an_orthogonal_weight_begins_as_it_was_and_can_be_assigned():
    layer = nn.Linear(4, 4)
    nn.init.orthogonal_(layer.weight)
    before = layer.weight.detach().numpy()
    nn.utils.parametrizations.orthogonal(layer)
    np.testing.assert_allclose(layer.weight.detach().numpy(), before, atol=1e-6)
    layer.weight = flame.eye(4)
    np.testing.assert_allclose(layer.weight.detach().numpy(), np.eye(4), atol=1e-6)
    wide = nn.utils.parametrizations.orthogonal(nn.Linear(5, 3))
    with pytest.raises(ShapeError, match="needs a matrix"):
        nn.utils.parametrizations.orthogonal(nn.Linear(2, 2), "bias")
    with pytest.raises(FlameError, match="orthogonal_map is 'qr'"):
        nn.utils.parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr")
    with pytest.raises(FlameError, match="leave use_trivialization=True"):
        nn.utils.parametrizations.orthogonal(nn.Linear(2, 3), use_trivialization=False)
    with pytest.raises(ShapeError, match=r"shape \(3, 5\), the value \(2, 2\)"):
        wide.weight = flame.eye(2)


# --- spectral_norm, fusion --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "args", "shape"), [("Linear", (4, 3), (5, 4)), ("ConvTranspose2d", (2, 3, 2), (1, 2, 4, 4))]
)
def test_the_first_spectral_norm(name, args, shape):
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    nn.utils.spectral_norm(ours, n_power_iterations=2)
    torch.nn.utils.spectral_norm(theirs, n_power_iterations=2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(copied(theirs))
    x = numbers(*shape)
    for mode in (True, True, False):
        ours.train(mode)
        theirs.train(mode)
        y, z = ours(flame.tensor(x)), theirs(torch.tensor(x))
        close(y, z)
    y.square().sum().backward()
    z.square().sum().backward()
    close(ours.weight_orig.grad, theirs.weight_orig.grad, 1e-4)
    close(ours.weight_u, theirs.weight_u)
    nn.utils.remove_spectral_norm(ours)
    torch.nn.utils.remove_spectral_norm(theirs)
    close(ours.weight, theirs.weight)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    with pytest.raises(FlameError, match="has no spectral_norm of 'weight'"):
        nn.utils.remove_spectral_norm(ours)


def test_fused_weights():
    shapes = ((3, 2, 2, 2), (3,), (3,), (3,), (3,), (3,))
    w, b, mean, var, g, h = (np.abs(numbers(*s)) for s in shapes)
    for transpose in (False, True):
        given = (w.swapaxes(0, 1).copy() if transpose else w, b, mean, var)
        pairs = []
        for library in (flame, torch):
            t = [library.tensor(a) for a in (*given, g, h)]
            pairs.append(library.nn.utils.fuse_conv_bn_weights(*t[:4], 1e-3, *t[4:], transpose))
        for mine, other in zip(*pairs):
            close(mine, other)
            assert isinstance(mine, nn.Parameter)


# --- pools ------------------------------------------------------------------------------------------------------------
POOLS = [
    (2, (2, 3, 9, 7), 2, {"output_size": (4, 3)}), (2, (3, 9, 7), (3, 2), {"output_ratio": 0.5}),
    (2, (1, 2, 8, 8), 3, {"output_size": 1}), (3, (2, 2, 7, 6, 5), 2, {"output_ratio": (0.5, 0.6, 0.7)}),
    (3, (2, 6, 6, 6), (2, 1, 3), {"output_size": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("rank", "shape", "kernel", "options"), POOLS, ids=str)
def test_fractional_pools(rank, shape, kernel, options):
    x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    n = shape[0] if len(shape) == rank + 2 else 1
    samples = rng.random((n, shape[-rank - 1], rank)).astype(np.float32)
    found = []
    for library in (flame, torch):
        pool = getattr(library.nn, f"FractionalMaxPool{rank}d")
        given = library.tensor(x, requires_grad=True)
        if library is torch and isinstance(options.get("output_ratio"), float):
            options = {"output_ratio": (options["output_ratio"],) * rank}
        y, at = pool(kernel, **options, return_indices=True, _random_samples=library.tensor(samples))(given)
        (y * y).sum().backward()
        found.append((y, at, given.grad))
    for mine, other in zip(*found):
        close(mine, other)
    layer = getattr(nn, f"FractionalMaxPool{rank}d")(kernel, **options)
    assert repr(layer) == f"FractionalMaxPool{rank}d()"
    assert layer(flame.tensor(x)).shape == found[0][0].shape


def test_misuse_of_fractional_pools():
    x = flame.ones(1, 2, 5, 5)
    with pytest.raises(ShapeError, match="one of them"):
        F.fractional_max_pool2d(x, 2)
    with pytest.raises(ShapeError, match="one of them"):
        nn.FractionalMaxPool2d(2, output_size=2, output_ratio=0.5)
    with pytest.raises(ShapeError, match="do not fit into H, W"):
        F.fractional_max_pool2d(x, 3, output_size=4)
    with pytest.raises(ShapeError, match="between 0 and 1"):
        F.fractional_max_pool2d(x, 2, output_ratio=(0.5, 1.5))
    with pytest.raises(ShapeError, match=r"not \(1, 2, 2\)"):
        F.fractional_max_pool2d(x, 2, output_size=2, _random_samples=flame.rand(2, 2))


NAMES = {
    "max_pool1d_with_indices": ((2, 3, 8), (2,)), "max_pool2d_with_indices": ((2, 3, 6, 6), (3, 2, 1)),
    "max_pool3d_with_indices": ((2, 2, 4, 4, 4), (2,)), "adaptive_max_pool1d_with_indices": ((2, 3, 8), (3,)),
    "adaptive_max_pool2d_with_indices": ((2, 3, 6, 5), ((2, 3),)), "upsample_nearest": ((1, 2, 3, 3), ((6, 5),)),
    "adaptive_max_pool3d_with_indices": ((2, 2, 4, 4, 4), (2,)), "upsample_bilinear": ((1, 2, 3, 3), (None, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_second_names(name):
    shape, args = NAMES[name]
    x = numbers(*shape)
    mine, other = getattr(F, name)(flame.tensor(x), *args), getattr(torch.nn.functional, name)(torch.tensor(x), *args)
    for a, b in zip(mine, other) if isinstance(mine, tuple) else [(mine, other)]:
        close(a, b)


def test_convolution_with_time_first():
    x, w, b = numbers(7, 2, 3), numbers(3, 3, 4), numbers(4)
    given = [[library.tensor(a) for a in (x, w, b)] for library in (flame, torch)]
    close(F.conv_tbc(*given[0], 1), torch.nn.functional.conv_tbc(*given[1], 1))


# --- SyncBatchNorm ----------------------------------------------------------------------------------------------------
def test_sync_batch_norm_is_batch_norm_in_one_process():
    def model(n):
        return n.Sequential(n.Linear(3, 4), n.BatchNorm1d(4), n.Sequential(n.BatchNorm1d(4, affine=False)))

    ours, theirs = model(nn), model(torch.nn)
    ours.load_state_dict(copied(theirs))
    parameter = ours[1].weight
    ours, theirs = nn.SyncBatchNorm.convert_sync_batchnorm(ours), torch.nn.SyncBatchNorm.convert_sync_batchnorm(theirs)
    assert repr(ours) == repr(theirs) and ours[1].weight is parameter
    x = numbers(6, 3)
    close(ours(flame.tensor(x)), theirs(torch.tensor(x)))
    for key, value in theirs.state_dict().items():
        close(ours.state_dict()[key], value)
    assert nn.SyncBatchNorm(2)(flame.ones(3, 2, 1, 1)).shape == (3, 2, 1, 1)
    with pytest.raises(FlameError, match="no process groups"):
        nn.SyncBatchNorm(2, process_group=object())
    with pytest.raises(ShapeError):
        nn.SyncBatchNorm(2)(flame.ones(2))


# --- data -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 5, 8, 9])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_distributed_sampler(count, replicas, drop_last):
    for rank in range(replicas):
        options = {"num_replicas": replicas, "rank": rank, "drop_last": drop_last}
        ours = flame.data.DistributedSampler(range(count), shuffle=False, **options)
        theirs = torch.utils.data.DistributedSampler(range(count), shuffle=False, **options)
        assert (list(ours), len(ours)) == (list(theirs), len(theirs))
    parts = [flame.data.DistributedSampler(range(count), replicas, rank) for rank in range(replicas)]
    for epoch in (0, 3):
        for part in parts:
            part.set_epoch(epoch)
        assert {i for part in parts for i in part} == set(range(count))


def test_misuse_of_the_distributed_sampler():
    with pytest.raises(DataError, match="give num_replicas= and rank="):
        flame.data.DistributedSampler(range(3))
    with pytest.raises(DataError, match="rank is 2"):
        flame.data.DistributedSampler(range(3), 2, 2)
    large = flame.data.DistributedSampler(range(100), 2, 0)
    first = list(large)
    large.set_epoch(1)
    assert list(large) != first


def test_stacked_datasets():
    for options in ((([1, 2, 3], "abc"), {}), ((), {"x": [1, 2], "y": "ab"})):
        args, named = options
        ours, theirs = flame.data.StackDataset(*args, **named), torch.utils.data.StackDataset(*args, **named)
        assert [ours[i] for i in range(len(ours))] == [theirs[i] for i in range(len(theirs))]
    with pytest.raises(DataError, match=r"datasets of \[1, 2\] samples"):
        flame.data.StackDataset([1], [1, 2])
    with pytest.raises(DataError, match="not both"):
        flame.data.StackDataset()


# --- dtypes -----------------------------------------------------------------------------------------------------------
FLOATING = ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("name", FLOATING)
def test_limits_of_floating_dtypes(name):
    mine, other = flame.finfo(getattr(flame, name)), torch.finfo(getattr(torch, name))
    for what in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        a, b = getattr(mine, what), getattr(other, what)
        assert a == b or abs(a - b) < 1e-6 * abs(b), what
    assert repr(mine) == repr(other)


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64"])
def test_limits_of_integers(name):
    mine, other = flame.iinfo(getattr(flame, name)), torch.iinfo(getattr(torch, name))
    assert [getattr(mine, w) for w in ("bits", "max", "min", "dtype")] == [
        other.bits,
        other.max,
        other.min,
        other.dtype,
    ]


def test_dtypes_say_what_they_are():
    whole = ("uint8", "int8", "int16", "int32", "int64", "bool", "half", "float", "double", "short", "int", "long")
    for name in (*FLOATING, *whole):
        mine, other = getattr(flame, name), getattr(torch, name)
        for what in ("is_floating_point", "is_complex", "is_signed", "itemsize"):
            assert getattr(mine, what) == getattr(other, what), (name, what)
        assert str(other) == f"torch.{mine}"
    assert flame.is_tensor(flame.ones(1)) and not flame.is_tensor(np.ones(1))
    assert flame.inf == float("inf") and flame.ones(2)[flame.newaxis].shape == (1, 2)
    with pytest.raises(DTypeError, match="not floating"):
        flame.finfo(flame.int8)
    with pytest.raises(DTypeError, match="no integer"):
        flame.iinfo(flame.float32)


def test_a_module_to_empty():
    layer = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    weight = layer[0].weight
    assert layer.to_empty(device="cpu") is layer and layer[0].weight is weight
    assert weight.requires_grad and weight.shape == (3, 2) and layer[1].num_batches_tracked.dtype is flame.int64
    made = nn.utils.skip_init(nn.Linear, 2, 3, bias=False)
    assert made.weight.shape == (3, 2) and issubclass(nn.GRU, nn.RNNBase) and issubclass(nn.GRUCell, nn.RNNCellBase)
