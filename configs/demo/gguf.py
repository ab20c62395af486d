"""Writes and reads the part of GGUF v3 that the demo needs: scalar, string and array metadata, four tensor types."""
import struct

import numpy as np
import torch

import quant

F32, Q8_0, MXFP4 = 0, 8, 39
ALIGNMENT = 32
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(item):
    """A metadata value with its type: str, int (as uint32), float (as float32), or a list of str or int (as int32)."""
    if isinstance(item, str):
        return struct.pack("<I", STRING) + string(item)
    if isinstance(item, int):
        return struct.pack("<II", UINT32, item)
    if isinstance(item, float):
        return struct.pack("<If", FLOAT32, item)
    if isinstance(item[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(item)) + b"".join(map(string, item))
    return struct.pack(f"<IIQ{len(item)}i", ARRAY, INT32, len(item), *item)


def tensor_bytes(kind, tensor):
    tensor = tensor.detach().float().contiguous()
    if kind == F32:
        return tensor.numpy().astype("<f4").tobytes()
    return (quant.q8_0_bytes if kind == Q8_0 else quant.mxfp4_bytes)(tensor)


def write(path, metadata, tensors):
    """tensors: name -> (type, torch tensor with its fastest dimension last, as torch has it)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(string(key) + value(item) for key, item in metadata.items())
    body = bytearray()
    for name, (kind, tensor) in tensors.items():
        head += string(name) + struct.pack("<I", tensor.dim())
        head += struct.pack(f"<{tensor.dim()}Q", *reversed(tensor.shape)) + struct.pack("<IQ", kind, len(body))
        body += tensor_bytes(kind, tensor)
        body += bytes(-len(body) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + body)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        items = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return items if len(items) > 1 else items[0]

    def string(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.take("IQ")
            return [self.value(inner) for _ in range(count)]
        return self.take(SCALARS[kind])


def read(path):
    """(metadata, tensors): what write() wrote, tensors dequantized to float32."""
    reader = Reader(open(path, "rb").read())
    _, _, count, keys = reader.take("4sIQQ")
    metadata = {}
    for _ in range(keys):
        key = reader.string()
        metadata[key] = reader.value(reader.take("I"))
    directory = []
    for _ in range(count):
        name, dims = reader.string(), reader.take("I")
        shape = [reader.take("Q") for _ in range(dims)][::-1]
        directory.append((name, shape, *reader.take("IQ")))
    start = reader.at + -reader.at % ALIGNMENT
    tensors = {}
    for name, shape, kind, offset in directory:
        count = int(np.prod(shape))
        size = {F32: 4 * count, Q8_0: count // 32 * 34, MXFP4: count // 32 * 17}[kind]
        data = reader.data[start + offset:start + offset + size]
        if kind == F32:
            tensors[name] = torch.from_numpy(np.frombuffer(data, "<f4").copy()).reshape(shape)
        else:
            tensors[name] = (quant.from_q8_0 if kind == Q8_0 else quant.from_mxfp4)(data, shape)
    return metadata, tensors
