"""`.pt` files: ours in PyTorch, PyTorch's in ours, and hostile ones: refused, nothing executed, memory bounded."""

import io
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import flame
from flame.errors import CheckpointError, DTypeError, StateError
from flame.io import load_model, save_model
from tests.io.hostile import Payload, archive, legacy, program, storage, tensor, text

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
GET, PUT = b"h\x00", b"q\x00"
LAUGHS = b")" + PUT + (GET + GET + b"\x86" + PUT) * 200  # each tuple holds the one before twice
SIX = np.arange(6, dtype=np.float32).tobytes()


def there_and_back(value: object) -> object:
    file = io.BytesIO()
    flame.save(value, file)
    return flame.load(file.getvalue())


# --- there and back ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 255, 65536, -(1 << 31), 1 << 31, 1 << 200, 2.5, float("inf"), "", "ünï", "\ud800", b"",
     b"\0\xff", [], (), {}, set(), [1, [2, (3,)]], {"a": {1: "x", None: 2.0, (1, "b"): []}}, {1, "a"}, OrderedDict(a=1),
     flame.bfloat16, flame.bool],
)  # fmt: skip
def test_plain_objects_come_back_as_they_were(value):
    found = there_and_back(value)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (3, 2), (0, 4)])
def test_tensors_come_back_to_the_bit(kind, shape):
    given = flame.tensor(np.random.default_rng(0).integers(0, 2, shape), dtype=getattr(flame, kind), device="cpu")
    found = there_and_back({"x": given})["x"]
    assert (found.shape, found.dtype) == (given.shape, given.dtype)
    assert found.numpy().tobytes() == given.numpy().tobytes()


def test_parameters_gradients_flags_and_sharing_come_back():
    weight = flame.nn.Parameter(flame.ones(2, 2))
    shared = [1, 2]
    found = there_and_back(
        {"p": weight, "q": weight, "frozen": flame.nn.Parameter(flame.zeros(1), requires_grad=False),
         "leaf": flame.ones(1, requires_grad=True), "one": shared, "two": shared, "made": weight * 2}
    )  # fmt: skip
    assert isinstance(found["p"], flame.nn.Parameter) and found["p"] is found["q"]
    assert found["p"].requires_grad and not found["frozen"].requires_grad and found["leaf"].requires_grad
    assert not found["made"].requires_grad
    assert found["one"] is found["two"]
    found["p"].sum().backward()
    assert found["p"].grad.tolist() == [[1, 1], [1, 1]]


def test_equal_contents_give_equal_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        flame.save({"x": flame.ones(3)}, tmp_path / name / "f.pt")
    assert (tmp_path / "a" / "f.pt").read_bytes() == (tmp_path / "b" / "f.pt").read_bytes()


@pytest.mark.parametrize(
    "value", [object(), flame.nn.Linear(1, 1), lambda: 0, np.ones(2), 1j, {"a": [print]}, {frozenset(): 1}, 1 << 3000]
)
def test_what_the_safe_reader_would_refuse_is_not_written(value, tmp_path):
    (tmp_path / "f.pt").write_bytes(b"old")
    with pytest.raises(CheckpointError, match="save: "):
        flame.save(value, tmp_path / "f.pt")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_an_object_that_holds_itself_is_not_written():
    inside: list = []
    inside.append(inside)
    with pytest.raises(CheckpointError, match="holds itself"):
        flame.save(inside, io.BytesIO())
    for _ in range(500):
        inside = [inside.copy()] if inside and inside[0] is inside else [inside]
    with pytest.raises(CheckpointError, match="nested deeper|holds itself"):
        flame.save(inside, io.BytesIO())


def test_safetensors_are_loaded_by_content(tmp_path):
    flame.io.save_file({"a": flame.ones(2)}, tmp_path / "weights.bin")
    assert flame.load(tmp_path / "weights.bin")["a"].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match="neither"):
        flame.load(b"GIF89a and more bytes")
    with pytest.raises(CheckpointError, match="never does"):
        flame.load(tmp_path / "weights.bin", weights_only=False)
    with pytest.raises(FileNotFoundError):
        flame.load(tmp_path / "gone.pt")


def test_a_state_dict_fills_a_module(tmp_path):
    one, two = flame.nn.Linear(3, 2), flame.nn.Linear(3, 2)
    flame.save(one.state_dict(), tmp_path / "a.pt")
    assert load_model(two, tmp_path / "a.pt") == ([], [])
    assert two.weight.tolist() == one.weight.tolist()
    flame.save({"model": one.state_dict()}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="no state_dict"):
        load_model(two, tmp_path / "b.pt")
    flame.save({"weight": flame.ones(1)}, tmp_path / "c.pt")
    with pytest.raises(StateError, match="missing: bias"):
        load_model(two, tmp_path / "c.pt")


# --- views on storages ------------------------------------------------------------------------------------------------
VIEWS = {
    "rows": ((2, 3), (3, 1), 0),
    "columns": ((3, 2), (1, 3), 0),
    "a part": ((2,), (1,), 3),
    "every second": ((3,), (2,), 1),
    "repeated": ((4, 2, 3), (0, 3, 1), 0),
    "windows": ((4, 3), (1, 1), 0),
    "repeated windows": ((2, 4, 3), (0, 1, 1), 0),
    "one": ((), (), 5),
    "none": ((0, 3), (3, 1), 0),
    "none at the end": ((0,), (1,), 6),
    "a lone row": ((1, 3), (77, 1), 3),
}


@pytest.mark.parametrize("name", VIEWS)
def test_strided_views_read_right(name):
    size, stride, offset = VIEWS[name]
    found = flame.load(archive(program(tensor(size, stride, offset)), {"0": SIX}))
    expected = np.lib.stride_tricks.as_strided(
        np.arange(6, dtype=np.float32)[offset:], size, tuple(4 * s for s in stride)
    )
    assert found.shape == size
    assert np.array_equal(found.numpy(), expected)


def test_overlapping_views_share_one_copy():
    """Four views of one storage of 4 MB: PyTorch has them in 4 MB, and so have we until they are read."""
    count = 1 << 20
    many = b"]" + b"(" + b"".join(tensor((count - i,), (1,), i, storage(count=count)) for i in range(4)) + b"e"
    pool = flame.tensor(0.0, device="cpu").device.pool
    data = np.arange(count, dtype=np.float32)
    before = pool.stats().in_use
    found = flame.load(archive(program(many), {"0": data.tobytes()}), "cpu")
    assert pool.stats().in_use - before <= data.nbytes * 1.01
    assert [x[0].item() for x in found] == [0, 1, 2, 3]
    assert np.array_equal(found[3].numpy(), data[3:])


def test_equal_views_share_memory_and_stay_values():
    two = b"(" + tensor() + tensor() + b"t"
    a, b = flame.load(archive(program(two), {"0": SIX}))
    a.add_(1)
    assert b.tolist() == [[0, 1, 2], [3, 4, 5]] and a.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_booleans_of_other_bytes_are_true():
    found = flame.load(archive(program(tensor((4,), (1,), 0, storage("BoolStorage", "0", 4))), {"0": b"\0\1\2\xff"}))
    assert found.tolist() == [False, True, True, True]


# --- the old format ---------------------------------------------------------------------------------------------------
def stored(data: bytes, count: int = 6) -> bytes:
    return struct.pack("<q", count) + data


def test_files_of_old_versions_are_read():
    found = flame.load(legacy(b"}" + text("a") + tensor() + b"s", ["0"], stored(SIX)))
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


OLD = {
    "cut short": (legacy(tensor(), ["0"], stored(SIX[:-1])), "cut short"),
    "no storage": (legacy(tensor(), ["0"]), "damaged"),
    "another storage": (legacy(tensor(), ["1"], stored(SIX)), "not those"),
    "a storage twice": (legacy(tensor(), ["0", "0"], stored(SIX)), "not those"),
    "another length": (legacy(tensor(), ["0"], stored(SIX, 7)), "damaged"),
    "a huge length": (legacy(tensor(of=storage(count=1 << 61)), ["0"], stored(SIX, 1 << 61)), "cut short"),
    "big-endian": (legacy(tensor(), ["0"], stored(SIX), little=False), "big-endian"),
    "another version": (legacy(tensor(), ["0"], stored(SIX), version=7), "not of PyTorch.s format"),
    "keys that print without end": (legacy(b"N", [])[:-4] + program(b"(" + LAUGHS + b"t"), "not those"),
    "a payload": (legacy(Payload("os", "system", "true").call(), []), "os.system"),
}


@pytest.mark.parametrize("name", OLD)
def test_damaged_files_of_old_versions_are_refused(name):
    data, says = OLD[name]
    with pytest.raises(CheckpointError, match=says):
        flame.load(data)


# --- hostile pickles --------------------------------------------------------------------------------------------------
DEEP_KEY = b"(" + LAUGHS + b"}" + GET + b"Nst"
PROGRAMS = {
    "os.system": (Payload("os", "system", "touch OWNED").call(), "asks for os.system"),
    "posix.system": (Payload("posix", "system", "touch OWNED").call(), "asks for posix.system"),
    "eval": (Payload("builtins", "eval", "open('OWNED', 'w')").call(), "asks for builtins.eval"),
    "exec of Python 2": (Payload("__builtin__", "exec", "open('OWNED', 'w')").call(), "asks for __builtin__.exec"),
    "getattr": (Payload("builtins", "getattr", "a", "b").call(), "asks for builtins.getattr"),
    "subprocess": (Payload("subprocess", "Popen", "touch OWNED").call(), "asks for subprocess.Popen"),
    "torch's own loader": (Payload("torch", "load", "x").call(), "asks for torch.load"),
    "torch's own hub": (Payload("torch.hub", "load", "x").call(), "asks for torch.hub.load"),
    "numpy": (Payload("numpy", "load", "x").call(), "asks for numpy.load"),
    "a class of torch": (Payload("torch.nn.modules.linear", "Linear", 1).call(), "asks for torch.nn.modules.linear"),
    "dots in the name": (Payload("torch._utils", "os.system", "touch OWNED").call(), "asks for torch._utils.os.system"),
    "a stacked global": (text("os") + text("system") + b"\x93" + text("x") + b"\x85R", "asks for os.system"),
    "a stacked global of tuples": (b"))\x93", "damaged"),
    "a global whose name prints without end": (b"(" + LAUGHS + GET + GET + b"\x93t", "damaged"),
    "a call of what prints without end": (b"(" + LAUGHS + GET + b")Rt", "calls a tuple"),
    "a shape that prints without end": (b"(" + LAUGHS + b"ctorch\nSize\n" + GET + b"\x85Rt", "no tensor has"),
    "INST": (b"(ios\nsystem\n", "instruction INST"),
    "OBJ": (b"(cos\nsystem\no", "asks for"),
    "NEWOBJ": (b"ctorch\nSize\n)\x81", "instruction NEWOBJ"),
    "EXT": (b"\x82\x01", "instruction EXT1"),
    "PERSID": (b"P0\n", "instruction PERSID"),
    "LONG4": (b"\x8b\xff\xff\xff\x7f", "instruction LONG4"),
    "an unknown instruction": (b"\xff", "instruction 0xff"),
    "a buffer": (b"\x97", "instruction NEXT_BUFFER"),
    "a call of data": (b"]" + b")R", "calls"),
    "a call of a dtype": (b"ctorch\nfloat32\n)R", "calls"),
    "a call with a list": (b"ctorch\nSize\n]R", "calls"),
    "a global as a value": (b"ctorch\nSize\n", "holds torch.Size"),
    "a storage as a value": (storage(), "no tensor, number"),
    "a foreign dtype as a value": (b"ctorch\nuint16\n", "holds uint16"),
    "attributes": (b"ccollections\nOrderedDict\n)R}" + text("items") + b"NsbN0", "attributes"),
    "attributes of a dict": (b"}}b", "damaged"),
    "an empty program": (b"", "damaged"),
    "two objects": (b"NN", "leaves 2"),
    "a mark": (b"(", "leaves 1"),
    "a mark as a value": (b"(\x85", "damaged"),
    "a remembered mark": (b"(" + PUT, "damaged"),
    "no mark": (b"t", "damaged"),
    "an unknown number": (GET, "damaged"),
    "a huge number of the memo": (b"Nr\xff\xff\xff\xffj\xff\xff\xff\xfe", "damaged"),
    "a huge string": (b"X\xff\xff\xff\xff", "wants 4294967295 bytes"),
    "a huger string": (b"\x8d" + b"\xff" * 8, "damaged"),
    "a negative string": (b"T\xff\xff\xff\xff", "damaged"),
    "a string that is no text": (b"X\x01\0\0\0\xff", "damaged"),
    "a global without an end": (b"c" + b"x" * 5000, "no end"),
    "half a pair": (b"}(Nu", "damaged"),
    "a list as a key": (b"}]Ns", "damaged"),
    "a deep key": (DEEP_KEY, "a tuple is no key"),
    "a list that holds itself": (b"]" + PUT + GET + b"a", "holds itself"),
    "a dictionary that holds itself": (b"}" + PUT + b"N" + GET + b"s", "holds itself"),
    "deep lists": (b"]" * 5000 + b"a" * 4999, "nested deeper"),
    "copies of text": (text("x" * 1000) + PUT + (b"c_codecs\nencode\n" + GET + b"\x85R") * 500, "again and again"),
    "a persistent id of another kind": (text("model") + b"\x85Q", "damaged"),
    "a persistent id that is a path": (storage(key="../../etc/passwd"), "no record"),
    "a storage of another size": (tensor(of=storage(count=7)), "has 24 in the file"),
    "a storage of a huge size": (tensor(of=storage(count=1 << 60)), "has 24 in the file"),
    "a storage of a negative size": (tensor(of=storage(count=-6)), "damaged"),
    "a storage that is not there": (tensor(of=storage(key="1")), "no record 'data/1'"),
    "a huge shape": (tensor((1 << 40,), (1,)), "beyond its storage"),
    "a shape that wraps around": (tensor((1 << 32, 1 << 32), (1, 1)), "no tensor has"),
    "a negative shape": (tensor((-2, -3)), "no tensor has"),
    "a negative stride": (tensor((2, 3), (-3, 1), 5), "from 0 up"),
    "a stride beyond": (tensor((2, 3), (1 << 62, 1)), "beyond its storage"),
    "an offset beyond": (tensor((2, 3), (3, 1), 1), "beyond its storage"),
    "a negative offset": (tensor((2, 3), (3, 1), -1), "from 0 up"),
    "too few strides": (tensor((2, 3), (3,)), "stride for each"),
    "a tensor of no storage": (tensor(of=b"N"), "no storage"),
    "too few arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "damaged"),
    "a sparse tensor": (Payload("torch._utils", "_rebuild_sparse_tensor", 1).call(), "_rebuild_sparse_tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_pickle_is_refused_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body, says = PROGRAMS[name]
    data = archive(program(body), {"0": SIX})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=says):
            flame.load(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert not list(tmp_path.iterdir())


def test_shared_tuples_are_read_in_no_time():
    """Two to the power of 200 elements for one who does not notice that they are the same."""
    found = flame.load(archive(program(b"(" + LAUGHS + b"t")))[-1]
    for _ in range(200):
        assert found[0] is found[1]
        found = found[0]


def test_a_tensor_repeated_without_end_takes_no_memory():
    pool = flame.tensor(0.0, device="cpu").device.pool
    before = pool.stats().in_use
    found = flame.load(archive(program(tensor((1 << 40, 3), (0, 1))), {"0": SIX}), "cpu")
    assert found.shape == (1 << 40, 3)
    assert pool.stats().in_use - before <= 4096


# --- hostile zips -----------------------------------------------------------------------------------------------------
GOOD = archive(program(tensor()), {"0": SIX})


def rezipped(kind: int = zipfile.ZIP_STORED, **names: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as file:
        for name, data in names.items():
            file.writestr(name, data)
    return out.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def in_directory(name: str, field: int, new: bytes) -> bytes:
    """GOOD with a field of an entry in its directory replaced."""
    return patched(GOOD, GOOD.rindex(name.encode()) - 46 + field, new)


ZIPS = {
    "cut short": (GOOD[:-10], "cut short"),
    "cut in half": (GOOD[: len(GOOD) // 2], "cut short"),
    "only the magic": (b"PK\x03\x04", "cut short"),
    "a path upwards": (rezipped(**{"a/data.pkl": program(b"N"), "a/../../../etc/passwd": b"x"}), "points outside"),
    "an absolute path": (rezipped(**{"/data.pkl": program(b"N")}), "points outside"),
    "a path of Windows": (rezipped(**{"a/data.pkl": program(b"N"), "a/..\\x": b""}), "points outside"),
    "a file at the top": (rezipped(**{"data.pkl": program(b"N")}), "none that PyTorch writes"),
    "two archives": (rezipped(**{"a/data.pkl": program(b"N"), "b/version": b"3"}), "2 archives"),
    "no pickle": (rezipped(**{"a/version": b"3"}), "no record 'data.pkl'"),
    "a bomb": (rezipped(zipfile.ZIP_DEFLATED, **{"a/data.pkl": b"\0" * 10_000_000}), "is compressed"),
    "TorchScript": (rezipped(**{"a/data.pkl": b"", "a/constants.pkl": b""}), "TorchScript"),
    "big-endian": (archive(program(tensor()), {"0": SIX}, byteorder=b"big"), "byte order"),
    "a huge size": (in_directory("archive/data/0", 20, struct.pack("<2I", 1 << 31, 1 << 31)), "cut short"),
    "an entry in an entry": (in_directory("archive/data/0", 42, struct.pack("<I", 0)), "another name|overlaps"),
    "an entry over the next": (in_directory("archive/data.pkl", 20, struct.pack("<2I", 400, 400)), "overlaps"),
    "an entry outside": (in_directory("archive/data/0", 42, struct.pack("<I", 1 << 30)), "damaged|outside"),
    "another checksum": (in_directory("archive/data/0", 16, b"abcd"), "checksum"),
    "other bytes": (patched(GOOD, GOOD.index(SIX), b"1"), "checksum"),
    "encrypted": (in_directory("archive/data/0", 8, b"\1\0"), "encrypted"),
}  # fmt: skip


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_is_refused(name):
    data, says = ZIPS[name]
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=says):
            flame.load(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_every_cut_and_every_flipped_bit_is_refused_or_read(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.pt"
    for at in range(len(GOOD)):
        path.write_bytes(GOOD[:at])
        with pytest.raises(CheckpointError):
            flame.load(path)
        path.write_bytes(patched(GOOD, at, bytes([GOOD[at] ^ 1 << int(rng.integers(8))])))
        try:
            found = flame.load(path)
        except (CheckpointError, DTypeError):
            continue
        assert found.tolist() == [[0, 1, 2], [3, 4, 5]]  # what was flipped is no part of the data


@pytest.mark.slow
def test_programs_at_random_end_in_an_answer_or_a_checkpoint_error():
    """Mutated and random programs, without the checksums that would catch them."""
    rng = np.random.default_rng(1)
    seeds = [program(body) for body, _ in PROGRAMS.values() if len(body) < 4000]
    for _ in range(5_000):
        body = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 6)):
            body[rng.integers(len(body))] = rng.integers(256)
        try:
            flame.load(archive(bytes(body), {"0": SIX}))
        except (CheckpointError, DTypeError):
            continue


def test_memory_stays_below_the_files_own_size_plus_a_little(tmp_path):
    """A process that may not grow loads what fits and refuses what lies, without asking for the declared memory."""
    lying = tmp_path / "lying.pt"
    lying.write_bytes(archive(program(tensor((1 << 36,), (1,), 0, storage(count=1 << 36))), {"0": SIX}))
    script = f"""
import resource, flame, pytest
flame.zeros(1).numpy()
used = int(open("/proc/self/statm").read().split()[0]) * {resource.getpagesize()}
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
with pytest.raises(flame.errors.CheckpointError):
    flame.load({str(lying)!r})
"""
    env = os.environ | {"PYTHONPATH": str(ROOT), "FLAME_DEVICE": "cpu"}
    subprocess.run([sys.executable, "-c", script], check=True, env=env)


# --- PyTorch ----------------------------------------------------------------------------------------------------------
@pytest.mark.parity
@pytest.mark.parametrize("old", [False, True])
def test_pytorch_files_are_read(tmp_path, old):
    torch = pytest.importorskip("torch")
    x = torch.arange(24.0).reshape(2, 3, 4)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    given = {
        **{kind: torch.ones(2, 3).to(getattr(torch, kind)) for kind in KINDS},
        "views": [x, x.transpose(0, 2), x[1], x[:, ::2], x.flatten()[3:9].unfold(0, 3, 1), x[:1].expand(5, 3, 4)],
        "parameter": torch.nn.Parameter(x), "net": net.state_dict(), "size": x.size(), "dtype": torch.float16,
        "device": torch.device("cpu"), "random": torch.get_rng_state(), "set": {1, 2}, "bytes": b"\0\xff", "n": 1 << 80,
        "nan": float("inf"), "empty": torch.zeros(0, 3),
    }  # fmt: skip
    torch.save(given, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    found = flame.load(tmp_path / "a.pt")
    for kind in KINDS:
        assert found[kind].dtype is getattr(flame, kind) and found[kind].tolist() == given[kind].tolist()
    for a, b in zip(found["views"], given["views"]):
        assert a.tolist() == b.tolist()
    assert isinstance(found["parameter"], flame.nn.Parameter)
    assert {k: v.tolist() for k, v in found["net"].items()} == {k: v.tolist() for k, v in net.state_dict().items()}
    for key in ("size", "set", "bytes", "n", "nan"):
        assert found[key] == given[key]
    assert (found["dtype"], found["device"], found["empty"].shape) == (flame.float16, "cpu", (0, 3))
    assert found["random"].tolist() == given["random"].tolist()


@pytest.mark.parity
def test_what_pytorch_holds_and_flame_lacks_is_refused_by_name(tmp_path):
    torch = pytest.importorskip("torch")
    for value, says in [
        (torch.ones(2).to(torch.complex64), "complex64"),
        (torch.ones(2, dtype=torch.uint16), "uint16"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (torch.complex(torch.ones(2), torch.ones(2)).conj(), "conjugate"),
    ]:
        torch.save(value, tmp_path / "a.pt")
        with pytest.raises((CheckpointError, DTypeError), match=says):
            flame.load(tmp_path / "a.pt")


@pytest.mark.parity
def test_pytorch_reads_ours(tmp_path):
    torch = pytest.importorskip("torch")
    given = {
        **{kind: flame.ones(2, 3, dtype=getattr(flame, kind)) for kind in KINDS},
        "parameter": flame.nn.Parameter(flame.ones(2)), "empty": flame.zeros(0, 3), "number": flame.tensor(2.5),
        "view": flame.arange(6).reshape(2, 3).t(), "plain": [1, -1, 1 << 80, 2.5, None, True, "ü", b"\0\xff", (1, ())],
        "set": {1, 2}, "ordered": OrderedDict(a=1), "dtype": flame.bfloat16, "leaf": flame.ones(1, requires_grad=True),
    }  # fmt: skip
    given["again"] = given["view"]
    flame.save(given, tmp_path / "a.pt")
    for options in ({}, {"mmap": True}):
        found = torch.load(tmp_path / "a.pt", weights_only=True, **options)
        for kind in KINDS:
            assert found[kind].dtype is getattr(torch, kind) and found[kind].tolist() == given[kind].tolist()
        assert isinstance(found["parameter"], torch.nn.Parameter) and found["parameter"].requires_grad
        assert found["leaf"].requires_grad and not found["number"].requires_grad
        assert found["again"] is found["view"] and found["view"].tolist() == given["view"].tolist()
        assert (found["empty"].shape, found["number"].shape) == ((0, 3), ())
        assert found["plain"] == given["plain"] and found["set"] == {1, 2} and found["dtype"] is torch.bfloat16
    assert torch.load(tmp_path / "a.pt", weights_only=False)["plain"] == given["plain"]


@pytest.mark.parity
def test_a_model_goes_to_pytorch_and_back_with_its_metadata(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.BatchNorm1d(4))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    loaded = flame.load(tmp_path / "theirs.pt")
    flame.save(loaded, tmp_path / "ours.pt")
    state = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert state._metadata == theirs.state_dict()._metadata
    assert list(state) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(state[key], value) and state[key].dtype is value.dtype
    theirs.load_state_dict(state)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_run_moves_to_flame_and_back(kind, tmp_path):
    """PyTorch trains and saves; FLAME loads, trains on and saves; PyTorch loads and trains on: as if it alone had."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)

    def train(side, model, optimizer, steps=3):
        for _ in range(steps):
            optimizer.zero_grad()
            (model(side.tensor(x)) - side.tensor(y)).square().mean().backward()
            optimizer.step()

    theirs = torch.nn.Linear(3, 2)
    theirs_too = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    train(torch, theirs, theirs_too)
    torch.save({"model": theirs.state_dict(), "optimizer": theirs_too.state_dict()}, tmp_path / "a.pt")
    weights = pytest.importorskip("safetensors.torch")
    weights.save_model(theirs, tmp_path / "a.safetensors")
    ours = flame.nn.Linear(3, 2)
    ours_too = flame.optim.AdamW(ours.parameters(), lr=1.0)
    found = flame.load(tmp_path / "a.pt")
    if kind == "pt":
        ours.load_state_dict(found["model"])
    else:
        load_model(ours, tmp_path / "a.safetensors")
    ours_too.load_state_dict(found["optimizer"])
    train(flame, ours, ours_too)
    flame.save({"model": ours.state_dict(), "optimizer": ours_too.state_dict()}, tmp_path / "b.pt")
    back = torch.load(tmp_path / "b.pt", weights_only=True)
    again = torch.nn.Linear(3, 2)
    again_too = torch.optim.AdamW(again.parameters())
    if kind == "pt":
        again.load_state_dict(back["model"])
    else:
        save_model(ours, tmp_path / "b.safetensors")
        weights.load_model(again, tmp_path / "b.safetensors")
    again_too.load_state_dict(back["optimizer"])
    train(torch, again, again_too)
    train(torch, theirs, theirs_too, steps=6)
    for a, b in zip(again.parameters(), theirs.parameters()):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_module_is_saved_in_safetensors_too(tmp_path):
    model = flame.nn.Linear(2, 2)
    save_model(model, tmp_path / "a.safetensors")
    assert flame.load(tmp_path / "a.safetensors")["weight"].tolist() == model.weight.tolist()
