"""Files as an attacker or a broken disk would make them."""

import io
import pickle
import struct
import zipfile


def archive(program: bytes, storages: dict[str, bytes] | None = None, root: str = "archive", **others: bytes) -> bytes:
    """A zip with a pickle and storages, as PyTorch lays it out."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(f"{root}/data.pkl", program)
        for key, data in (storages or {}).items():
            file.writestr(f"{root}/data/{key}", data)
        for name, data in others.items():
            file.writestr(f"{root}/{name}", data)
        file.writestr(f"{root}/version", b"3\n")
    return out.getvalue()


def text(value: str) -> bytes:
    """The instruction that pushes a string."""
    spelled = value.encode()
    return b"X" + struct.pack("<I", len(spelled)) + spelled


def number(value: int) -> bytes:
    """The instruction that pushes an integer."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(*values: int) -> bytes:
    """The instructions that push a tuple."""
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 6) -> bytes:
    """The instructions that push a storage."""
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(size=(2, 3), stride=(3, 1), offset=0, of: bytes | None = None, function="_rebuild_tensor_v2") -> bytes:
    """The instructions that push a tensor."""
    head = f"ctorch._utils\n{function}\n".encode()
    place = (of or storage()) + number(offset) + numbers(*size) + numbers(*stride)
    return head + b"(" + place + b"\x89ccollections\nOrderedDict\n)RtR"


def program(body: bytes) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + body + b"."


class Payload:
    """An object whose unpickling runs a command."""

    def __init__(self, module: str, name: str, *args: object):
        self.module, self.name, self.args = module, name, args

    def call(self) -> bytes:
        """The instructions that call it."""
        return f"c{self.module}\n{self.name}\n".encode() + b"".join(
            [b"(", *(text(a) if isinstance(a, str) else number(a) for a in self.args), b"tR"]
        )


def legacy(body: bytes, keys: list[str], *storages: bytes, little: bool = True, version: int = 1001) -> bytes:
    """A file of PyTorch before 1.6."""
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, version, system)]
    return b"".join([*head, program(body), pickle.dumps(keys, 2), *storages])
