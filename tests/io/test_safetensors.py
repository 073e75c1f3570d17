"""safetensors: what is written is read, by us and by the reference; what is damaged is refused, nothing allocated."""

import json
import struct
import tracemalloc

import numpy as np
import pytest

import flame
from flame.errors import CheckpointError, DTypeError, StateError
from flame.io import load_file, load_model, safe_open, save_file, save_model

KINDS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


def some(kind: str, *shape: int) -> flame.Tensor:
    """Numbers of a dtype."""
    rng = np.random.default_rng([len(kind), *shape])
    return flame.tensor(rng.integers(0, 2 if kind == "bool" else 100, shape), dtype=getattr(flame, kind), device="cpu")


def state() -> dict[str, flame.Tensor]:
    """A tensor of every dtype, and the shapes that break things."""
    made = {kind: some(kind, 3, 5) for kind in KINDS}
    return made | {"number": some("float32"), "nothing": some("int16", 0, 4), "ünïcode/ name": some("int8", 7)}


def same(a: dict, b: dict) -> bool:
    """Equal names, shapes, dtypes and bytes."""
    return a.keys() == b.keys() and all(
        a[k].shape == b[k].shape and a[k].dtype == b[k].dtype and a[k].numpy().tobytes() == b[k].numpy().tobytes()
        for k in a
    )


def written(header: object, data: bytes = b"") -> bytes:
    """A file with this header, which may be text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# --- there and back ---------------------------------------------------------------------------------------------------
def test_what_is_saved_is_loaded_with_its_metadata(tmp_path):
    save_file(state(), tmp_path / "a.safetensors", {"made by": "a test"})
    assert same(load_file(tmp_path / "a.safetensors"), state())
    with safe_open(tmp_path / "a.safetensors") as file:
        assert file.metadata() == {"made by": "a test"}
        assert sorted(file.keys()) == sorted(state())


def test_lazy_values_are_computed_and_views_are_written_as_they_read(tmp_path):
    x = flame.arange(12).reshape(3, 4)
    save_file({"t": x.t(), "sum": x.sum(0), "row": x[1], "wide": x[:1].expand(5, 4)}, tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert found["t"].tolist() == x.t().tolist()
    assert found["row"].tolist() == [4, 5, 6, 7]
    assert found["wide"].tolist() == [[0, 1, 2, 3]] * 5


def test_parts_of_a_file_are_read(tmp_path):
    save_file(state(), tmp_path / "a.safetensors")
    assert list(load_file(tmp_path / "a.safetensors", keys=["int8", "bool"])) == ["int8", "bool"]
    with pytest.raises(CheckpointError, match="no 'int7'"):
        load_file(tmp_path / "a.safetensors", keys=["int7"])
    with safe_open(tmp_path / "a.safetensors") as file:
        part = file.get_slice("float32")
        assert (part.get_shape(), part.get_dtype()) == ([3, 5], "F32")
        assert part[1:, ::2].tolist() == state()["float32"][1:, ::2].tolist()
        assert part[2, 3].item() == state()["float32"][2, 3].item()
        assert file.get_tensor("int16", dtype=flame.float32).dtype is flame.float32


def test_floating_tensors_are_converted_while_they_are_read(tmp_path):
    save_file(state(), tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors", dtype=flame.bfloat16)
    for name, value in state().items():
        assert found[name].dtype is (flame.bfloat16 if value.dtype.is_float else value.dtype)
        assert found[name].tolist() == value.to(found[name].dtype).tolist()


def test_shards_have_an_index_and_are_read_as_one(tmp_path):
    big = {f"layer.{i}": some("float32", 10, 10) for i in range(7)}
    save_file(big, tmp_path / "model.safetensors", {"format": "pt"}, max_shard_size="1KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2800
    assert index["weight_map"]["layer.0"] == "model-00001-of-00004.safetensors"
    assert same(load_file(tmp_path), big)
    assert same(load_file(tmp_path / "model.safetensors.index.json", keys=["layer.6"]), {"layer.6": big["layer.6"]})
    with pytest.raises(CheckpointError, match="max_shard_size is 'large'"):
        save_file(big, tmp_path / "model.safetensors", max_shard_size="large")


# --- modules ----------------------------------------------------------------------------------------------------------
class Tied(flame.nn.Module):
    """Two layers with one weight, and a buffer."""

    def __init__(self, width: int = 3):
        super().__init__()
        self.a = flame.nn.Linear(width, width)
        self.b = flame.nn.Linear(width, width)
        self.b.weight = self.a.weight
        self.register_buffer("count", flame.tensor([7, 8]))


def test_a_module_is_filled_in_place_and_keeps_its_dtypes(tmp_path):
    one, two = Tied(), Tied()
    save_file({k: v.double() for k, v in one.state_dict().items()}, tmp_path / "a.safetensors")
    params = list(two.parameters())
    assert load_model(two, tmp_path / "a.safetensors") == ([], [])
    assert same(two.state_dict(), one.state_dict())
    assert all(a is b and a.requires_grad and a.dtype is flame.float32 for a, b in zip(params, two.parameters()))
    two.a(flame.ones(1, 3)).sum().backward()
    assert two.a.weight.grad is not None


def test_a_loaded_module_never_computes_its_starting_values(tmp_path):
    from flame import values

    save_model(Tied(), tmp_path / "a.safetensors")
    fresh = Tied()
    before = len(values._ready)
    load_model(fresh, tmp_path / "a.safetensors")
    fresh.a.weight.numpy()
    assert len(values._ready) == before


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_loading_needs_no_second_copy_of_the_model(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("flame.io.weights.AT_ONCE", 1 << 20)
    model = flame.nn.Sequential(*[flame.nn.Linear(512, 512, bias=False) for _ in range(16)])
    flame.realize(*model.parameters())  # 16 MB
    save_file({k: v.to(getattr(flame, kind)) for k, v in model.state_dict().items()}, tmp_path / "a.safetensors")
    pool = model[0].weight.device.pool
    pool.trim()
    reserved = pool.stats().reserved
    load_model(model, tmp_path / "a.safetensors")
    assert pool.stats().reserved - reserved <= 3 << 20


def test_a_shared_weight_is_written_once_and_not_missed(tmp_path):
    one, two = Tied(), Tied()
    save_model(one, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors") as file:
        assert "b.weight" not in file.keys()  # noqa: SIM118  no dict
        assert file.metadata() == {"b.weight": "a.weight"}
    assert load_model(two, tmp_path / "a.safetensors") == ([], [])
    assert same(two.state_dict(), one.state_dict())
    assert two.a.weight is two.b.weight


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    model = Tied()
    before = model.state_dict()
    save_file({"a.weight": some("float32", 3, 4), "other": some("int8", 1)}, tmp_path / "a.safetensors")
    with pytest.raises(
        StateError, match=r"(?s)missing: a.bias.*unexpected: other.*misshapen: a.weight has shape \(3, 4\)"
    ):
        load_model(model, tmp_path / "a.safetensors")
    with pytest.raises(StateError, match="misshapen"):
        load_model(model, tmp_path / "a.safetensors", strict=False)
    assert same(model.state_dict(), before)
    save_file({"a.bias": some("float32", 3), "other": some("int8", 1)}, tmp_path / "a.safetensors")
    assert load_model(model, tmp_path / "a.safetensors", strict=False) == (
        ["count", "a.weight", "b.weight", "b.bias"],
        ["other"],
    )
    assert model.a.bias.tolist() == some("float32", 3).tolist()


# --- damage -----------------------------------------------------------------------------------------------------------
def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


HOSTILE = {
    "empty": b"",
    "no length": b"\1\0\0",
    "a length beyond the file": struct.pack("<Q", 1 << 62) + b"{}",
    "a length just beyond": struct.pack("<Q", 3) + b"{}",
    "no json": written(b"{nothing"),
    "no text": written(b"{\xff\xfe}"),
    "no object": written([1, 2]),
    "deep": written(b'{"a":' * 100_000),
    "a key twice": written(b'{"a":%s,"a":%s}' % ((b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}',) * 2), b"x"),
    "a field twice": written(b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "no dtype": written({"a": {"shape": [], "data_offsets": [0, 4]}}, b"1234"),
    "another field": written({"a": entry() | {"code": "x"}}, b"12345678"),
    "an unknown dtype": written({"a": entry("F3")}, b"12345678"),
    "a dtype that is a list": written({"a": entry(["F32"])}, b"12345678"),
    "a huge shape": written({"a": entry(shape=(1 << 40, 1 << 40))}, b"12345678"),
    "a shape that wraps around": written({"a": entry(shape=(1 << 32, 1 << 32), end=0)}),
    "a huge shape of nothing": written({"a": entry(shape=(1 << 62, 1 << 62, 0), end=0)}),
    "a negative shape": written({"a": entry(shape=(-1, -2))}, b"12345678"),
    "a fraction": written({"a": entry(shape=(2.0,))}, b"12345678"),
    "a truth": written({"a": entry(shape=(True, 2))}, b"12345678"),
    "many dimensions": written({"a": entry(shape=(1,) * 65, end=4)}, b"1234"),
    "the wrong size": written({"a": entry(shape=(3,))}, b"12345678"),
    "offsets beyond": written({"a": entry(end=1 << 60, shape=(1 << 58,))}, b"12345678"),
    "offsets backwards": written({"a": entry(begin=8, end=0)}, b"12345678"),
    "offsets below 0": written({"a": entry(begin=-8, end=0)}, b"12345678"),
    "three offsets": written({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}, b"1"),
    "an overlap": written({"a": entry(), "b": entry(begin=4, end=12)}, b"123456789012"),
    "the same bytes twice": written({"a": entry(), "b": entry()}, b"12345678"),
    "a hole": written({"a": entry(), "b": entry(begin=12, end=20)}, b"1" * 20),
    "a hole before": written({"a": entry(begin=4, end=12)}, b"1" * 12),
    "bytes left over": written({"a": entry()}, b"1" * 12),
    "cut short": written({"a": entry()}, b"1234"),
    "metadata of numbers": written({"__metadata__": {"a": 1}}),
    "metadata of text": written({"__metadata__": "a"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_file_is_refused(name, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            load_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000 + 10 * len(HOSTILE[name])


def test_every_flipped_bit_and_every_cut_is_refused_or_read_as_other_numbers(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": some("float32", 3), "b": some("int8", 4)}, path, {"k": "v"})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        with pytest.raises(CheckpointError):
            load_file(path)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :])
        try:
            found = load_file(path)
        except CheckpointError:
            continue
        assert sum(v.numel() * v.dtype.size for v in found.values()) == 16


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"weight_map": {"a": "../secret.safetensors"}}, "beside their index"),
        ({"weight_map": {"a": "/etc/passwd"}}, "beside their index"),
        ({"weight_map": {"a": ".."}}, "beside their index"),
        ({"weight_map": {"a": "gone.safetensors"}}, "not there"),
        ({"weight_map": {"z": "one.safetensors"}}, "does not hold it"),
        ({"weight_map": ["a"]}, "no index"),
        ([1], "no index"),
        ({}, "no index"),
    ],
)
def test_an_index_that_lies_is_refused(index, says, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    save_file({"a": some("int8", 1)}, folder / "one.safetensors")
    save_file({"a": some("int8", 1)}, tmp_path / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=says):
        load_file(folder)


def test_a_dtype_that_flame_lacks_can_be_converted(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(written({"a": entry("U16", (2,), 0, 4)}, struct.pack("<2H", 7, 65535)))
    with pytest.raises(DTypeError, match="uint16"):
        load_file(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors") as file:
        assert file.get_tensor("a", dtype=flame.int64).tolist() == [7, 65535]


def test_booleans_of_other_bytes_are_true(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(written({"a": entry("BOOL", (4,), 0, 4)}, b"\0\1\2\xff"))
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [False, True, True, True]


@pytest.mark.parametrize("tensors", [{1: flame.zeros(1)}, {"a": [1.0]}, {"__metadata__": flame.zeros(1)}])
def test_what_the_format_cannot_hold_is_not_written(tensors, tmp_path):
    with pytest.raises(CheckpointError, match="save_file"):
        save_file(tensors, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


# names given twice, fields that the format does not name, more axes than NumPy has
ALONE = ("a key twice", "a field twice", "another field", "many dimensions")


# --- the reference ----------------------------------------------------------------------------------------------------
@pytest.mark.parity
def test_the_reference_reads_ours_and_we_read_the_reference(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    save_file(state(), tmp_path / "ours.safetensors", {"a": "b"})
    found = theirs.load_file(tmp_path / "ours.safetensors")
    for name, value in state().items():
        assert found[name].dtype is getattr(torch, value.dtype.name)
        assert found[name].shape == value.shape
        assert torch.equal(found[name].double(), torch.tensor(value.double().numpy()).reshape(value.shape))
    theirs.save_file(found, tmp_path / "theirs.safetensors", {"a": "b"})
    assert same(load_file(tmp_path / "theirs.safetensors"), state())


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in ALONE])
def test_the_reference_refuses_what_we_refuse(name, tmp_path):
    theirs = pytest.importorskip("safetensors.torch")
    with pytest.raises(Exception):  # noqa: B017  it raises classes of its own
        theirs.load(HOSTILE[name])
