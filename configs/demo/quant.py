"""The two block formats the demo ships, both 32 weights a block: codes and scales, their values, their bytes.

Training rounds its weights with exactly these functions, so the file holds what was trained.
"""
import numpy as np
import torch

FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
BLOCK = 32


def q8_0(weights):
    """(codes, scales): value = code * scale, codes in [-127, 127], scales representable in f16; rows % 32 == 0."""
    blocks = weights.reshape(-1, BLOCK)
    scale = (blocks.abs().amax(1, keepdim=True) / 127).half().float()
    inverse = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))
    return (blocks * inverse).round().clamp(-127, 127), scale


def q8_0_round(weights):
    codes, scale = q8_0(weights)
    return (codes * scale).reshape(weights.shape)


def q8_0_bytes(weights):
    codes, scale = q8_0(weights)
    scale = scale.numpy().astype("<f2").view(np.uint8).reshape(-1, 2)
    return np.concatenate([scale, codes.numpy().astype(np.int8).view(np.uint8)], axis=1).tobytes()


def mxfp4_exponent(blocks):
    """The power of two of each block: the largest weight falls into [3.5, 7) of it, where FP4 ends at 6.

    A largest weight in (6, 7) becomes 6, which is no worse than the rounding error that a doubled scale would bring.
    """
    largest = blocks.abs().amax(1, keepdim=True).clamp_min(2.0 ** -100)
    return torch.floor(torch.log2(largest * (8 / 7))) - 2


def mxfp4_round(weights):
    blocks = weights.reshape(-1, BLOCK)
    scale = torch.exp2(mxfp4_exponent(blocks))
    scaled = blocks / scale
    # FP4 is a grid of halves below 2, of ones below 4 and of twos from there: round on the grid of each weight's size.
    step = torch.exp2((scaled.abs().clamp_min(1).log2().floor() - 1).clamp(-1, 1))
    return ((scaled / step).round() * step).clamp(-6, 6).mul(scale).reshape(weights.shape)


def mxfp4_bytes(weights):
    """17 bytes a block: the exponent + 127, then byte j = code of weight j | code of weight j+16 << 4."""
    blocks = mxfp4_round(weights).reshape(-1, BLOCK)
    exponent = mxfp4_exponent(weights.reshape(-1, BLOCK))
    values = blocks / torch.exp2(exponent)
    codes = torch.searchsorted(FP4, values.abs()).numpy().astype(np.uint8)
    codes |= (values < 0).numpy().astype(np.uint8) << 3
    packed = codes[:, :16] | codes[:, 16:] << 4
    return np.concatenate([(exponent + 127).numpy().astype(np.uint8), packed], axis=1).tobytes()


def from_q8_0(data, shape):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 34)
    scale = raw[:, :2].copy().view("<f2").astype(np.float32)
    return torch.from_numpy(raw[:, 2:].copy().view(np.int8).astype(np.float32) * scale).reshape(shape)


def from_mxfp4(data, shape):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 17)
    codes = np.concatenate([raw[:, 1:] & 15, raw[:, 1:] >> 4], axis=1)
    values = FP4.numpy()[codes & 7] * np.where(codes & 8, -1, 1).astype(np.float32)
    return torch.from_numpy(values * np.exp2(raw[:, :1].astype(np.float32) - 127)).reshape(shape)
