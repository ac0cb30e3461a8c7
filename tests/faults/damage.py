"""Damage to the content of files: of their bytes, and of what stands in them.

A codec takes a file apart into plain values and puts it together again, with lengths and checksums
that agree, so that the damage is met by whoever uses the values and not by whoever counts bytes.
"""

import ast
import io
import json
import os
import random
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

CANARY = "code_was_run"
"""File that hostile pickles make."""


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {CANARY}",)


def deep(depth: int) -> Any:
    tree: Any = []
    for _ in range(depth):
        tree = [tree]
    return tree


PLAIN: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        2**31,
        2**63,
        -(2**63) - 1,
        10**30,
        1.5,
        -0.5,
        1e308,
        1e-320,
    ),
    *(float("nan"), float("inf"), "", " ", "x", "0", "nan", "1e400", "none", "\x00", "ü€𝄞"),
    *("\x1b[31mred", "a\nb", "../../x", "/", "9" * 5000, "y" * 200_000, "train", "-1"),
    *([], {}, [[]], [0], ["a"], [None], {"a": 1}, {"": []}, [1, [2, "3"]], deep(30)),
)
"""What takes the place of a value."""


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """One to three of: a flipped bit, a byte set, a cut, an insertion, a stretch gone or twice."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        size = len(found)
        if not size:
            break
        at = rng.choice(
            (
                rng.randrange(size),
                rng.randrange(min(size, 300)),
                size - 1 - rng.randrange(min(size, 300)),
            )
        )
        length = rng.choice((1, 2, 8, 64, size))
        match rng.randrange(8):
            case 0 | 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                found[at] = rng.choice((0, 255, rng.randrange(256)))
            case 3:
                del found[at:]
            case 4:
                found[at:at] = rng.randbytes(min(length, 64))
            case 5:
                del found[at : at + length]
            case 6:
                found[at:at] = found[at : at + length]
            case 7:
                found[at : at + length] = bytes(min(length, size - at))
    return bytes(found)


def damaged_tree(rng: random.Random, tree: Any, values: tuple[Any, ...] = PLAIN) -> Any:
    """One or two nodes replaced, left out, repeated or renamed; `tree` stays as it is."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        tree = _damaged(rng, tree, values)
    return tree


def _damaged(rng: random.Random, node: Any, values: tuple[Any, ...]) -> Any:
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = rng.choice(list(node))
        found = dict(node)
        match rng.randrange(12):
            case 0:
                del found[key]
            case 1:
                found[rng.choice(("x", "", 3, f"{key}.x", "y" * 3000, "\x1b[31m"))] = found.pop(key)
            case 2:
                found[key] = rng.choice(list(node.values()))
            case _:
                found[key] = _damaged(rng, node[key], values)
        return found
    if isinstance(node, list) and node and rng.random() < 0.8:
        at = rng.randrange(len(node))
        match rng.randrange(8):
            case 0:
                return node[:at] + node[at + 1 :]
            case 1:
                return node[: at + 1] + node[at:]
            case _:
                return [*node[:at], _damaged(rng, node[at], values), *node[at + 1 :]]
    if isinstance(node, torch.Tensor) and rng.random() < 0.7:
        return _damaged_tensor(rng, node)
    if isinstance(node, bytes):
        return damaged_bytes(rng, node)
    return rng.choice(values)


def _damaged_tensor(rng: random.Random, node: torch.Tensor) -> Any:
    makers: list[Callable[[], Any]] = [
        lambda: node.reshape(-1),
        lambda: node[:0] if node.ndim else node,
        lambda: node[..., None],
        lambda: node.flatten()[:1].expand(10**6, 10**6),
        lambda: node.half(),
        lambda: node.double(),
        lambda: node.to(torch.int8),
        lambda: node.to(torch.complex64),
        lambda: node.to(torch.bfloat16),
        lambda: node.bool(),
        lambda: node.to_sparse(),
        lambda: torch.full_like(
            node,
            rng.choice((float("nan"), -1.0, 3e38))
            if node.is_floating_point()
            else rng.choice((-1, 99)),
        ),
        lambda: torch.sparse_coo_tensor(torch.tensor([[0], [0]]), [1.0], (10**6, 10**6)),
        lambda: torch.quantize_per_tensor(node.float(), 0.1, 0, torch.qint8),
        lambda: node.to("meta"),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: node.tolist(),
        lambda: node.numpy(),
    ]
    return rng.choice(makers)()


@dataclass(frozen=True)
class Codec:
    """Between bytes and a tree of values, and what damage puts into the tree."""

    decode: Callable[[bytes], Any]
    encode: Callable[[random.Random, Any], bytes]
    values: tuple[Any, ...] = PLAIN


def _decode_safetensors(content: bytes) -> Any:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    own = header.get("__metadata__", {})
    own.pop("sha256", None)  # it vouches for the rest, and would hide all other damage
    header["__metadata__"] = {
        key: value if key.startswith("format") else json.loads(value) for key, value in own.items()
    }
    return {"header": header, "data": content[8 + length :]}


def _encode_safetensors(rng: random.Random, tree: Any) -> bytes:
    header, data = tree.get("header"), tree.get("data", b"")
    if isinstance(header, dict) and isinstance(own := header.get("__metadata__"), dict):
        texts = {
            str(k): v if isinstance(v, str) and k[:6] == "format" else json.dumps(v)
            for k, v in own.items()
        }
        header = {**header, "__metadata__": texts}
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + (data if isinstance(data, bytes) else b"")


def _npy_parts(content: bytes) -> Any:
    length = struct.unpack("<H", content[8:10])[0]
    header = ast.literal_eval(content[10 : 10 + length].decode("latin1"))
    return {"header": {**header, "shape": list(header["shape"])}, "data": content[10 + length :]}


NPY_VALUES = (
    *PLAIN,
    *(
        "<f8",
        "<f4",
        "<i8",
        ">f4",
        "|O",
        "<U9999999",
        "<U0",
        "|V0",
        "|V8",
        "<M8[ns]",
        "|b1",
        "<c16",
        "<f2",
    ),
    *(
        [10**12],
        [10**6, 10**6],
        [2**62],
        [-1],
        [-4, -4],
        [0],
        [],
        [0, 5],
        [[4]],
        [True],
        [1, 2, 3, 4],
    ),
)


def _npy(rng: random.Random, tree: Any) -> bytes:
    header, data = tree.get("header"), tree.get("data", b"")
    if isinstance(header, dict) and isinstance(header.get("shape"), list) and rng.random() < 0.97:
        header = {**header, "shape": tuple(header["shape"])}
    text = (repr(header) + "\n").encode("utf-8", "surrogatepass")
    version = 1 if len(text) < 65536 else 2
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    data = data if isinstance(data, bytes) else b""
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def _decode_npz(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: _npy_parts(archive.read(name)) for name in archive.namelist()}


def _encode_npz(rng: random.Random, tree: Any) -> bytes:
    members = {
        str(name): _npy(rng, value) if isinstance(value, dict) else repr(value).encode()
        for name, value in tree.items()
    }
    return zipped(rng, members)


def zipped(rng: random.Random, members: dict[str, bytes]) -> bytes:
    """An archive of them, in a tenth of all cases a hostile one."""
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("\0", "0")[:60000] or "0", content)
    found = bytearray(made.getvalue())
    if rng.random() < 0.3:
        # Of each entry in the directory and before the data: flags, method, sizes.
        central, local = b"PK\x01\x02", b"PK\x03\x04"
        what, value = rng.choice(
            (
                (0, b"\x01\x00"),
                (0, b"\x40\x00"),
                (2, b"\x63\x00"),
                (2, b"\x0c\x00"),
                (2, b"\x09\x00"),
                (16, b"\xf0\xff\xff\x7f"),
                (16, b"\xff\xff\xff\xff"),
                (12, b"\xf0\xff\xff\x7f"),
                (8, b"\0\0\0\0"),
            )
        )
        for mark, offset in ((central, 8), (local, 6)):
            at = found.find(mark)
            while at >= 0:
                found[at + offset + what : at + offset + what + len(value)] = value
                at = found.find(mark, at + 4)
    return bytes(found)


def _decode_torch(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)


def _encode_torch(rng: random.Random, tree: Any) -> bytes:
    made = io.BytesIO()
    torch.save(tree, made, _use_new_zipfile_serialization=rng.random() < 0.8)
    return made.getvalue()


def _decode_csv(content: bytes) -> Any:
    return [line.split(",") for line in content.decode().splitlines()]


def _encode_csv(rng: random.Random, tree: Any) -> bytes:
    rows = tree if isinstance(tree, list) else [[tree]]
    divider = "," if rng.random() < 0.95 else rng.choice((";", "\t", "|", " "))
    text = "\n".join(
        divider.join(map(str, row)) if isinstance(row, list) else str(row) for row in rows
    )
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16")), "surrogatepass")


def _encode_json(rng: random.Random, tree: Any) -> bytes:
    if rng.random() < 0.05:
        return b"[" * 100_000 + b"]" * 100_000
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _encode_lines(rng: random.Random, tree: Any) -> bytes:
    rows = tree if isinstance(tree, list) else [tree]
    return b"".join(_encode_json(rng, row) + b"\n" for row in rows)


def _encode_toml(rng: random.Random, tree: Any) -> bytes:
    if rng.random() < 0.05:
        return rng.choice(
            (b"gamma = " + b"[" * 100_000, b"[a" + b".a" * 50_000 + b"]", b"x=" + b"{a=" * 3000)
        )
    return "\n".join(f"{key} = {_toml(value)}" for key, value in tree.items()).encode(
        "utf-8", "surrogatepass"
    )


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return (
        "1979-05-27T07:32:00Z"
        if value is None
        else json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")
    )


CODECS = {
    "safetensors": Codec(
        _decode_safetensors,
        _encode_safetensors,
        (*PLAIN, "F64", "F16", "BF16", "I64", [0, 10**18], [10**9, 10**9], [0, 8]),
    ),
    "npy": Codec(_npy_parts, _npy, NPY_VALUES),
    "npz": Codec(_decode_npz, _encode_npz, NPY_VALUES),
    "torch": Codec(
        _decode_torch,
        _encode_torch,
        (
            *PLAIN,
            Hostile(),
            Namespace(a=1),
            torch.zeros(3),
            torch.zeros(()),
            [torch.zeros(2), torch.zeros(3)],
        ),
    ),
    "csv": Codec(_decode_csv, _encode_csv),
    "json": Codec(json.loads, _encode_json),
    "lines": Codec(
        lambda content: [json.loads(line) for line in content.splitlines()], _encode_lines
    ),
    "toml": Codec(json.loads, _encode_toml),
    "parquet": Codec(lambda content: content, lambda rng, tree: tree),
}


def damaged(rng: random.Random, codec: str, content: bytes) -> bytes:
    """The content of a file, damaged: in a third of all cases its bytes, else what they say."""
    if rng.random() < 1 / 3:
        return damaged_bytes(rng, content)
    how = CODECS[codec]
    while True:
        try:
            tree = damaged_tree(rng, how.decode(content), how.values)
            return how.encode(
                rng,
                tree if isinstance(tree, dict | list | bytes) or codec in ("json", "torch") else {},
            )
        except (
            RuntimeError,
            TypeError,
            ValueError,
            NotImplementedError,
            AttributeError,
            KeyError,
            OverflowError,
        ):
            continue  # no such file can be written
