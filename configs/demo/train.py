"""Trains the demo model from a seed and writes demo.gguf: nice -n 19 /usr/bin/python3 train.py (see README.md)."""
import argparse
import ctypes
import math
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

import bpe
import gguf
import harmony
import model
import talk
import world

WORDS, LED = 1600, 300  # merges inside words, and of words with a space or sign before them
PROMPTS = 4             # prompts of one step
ROOM, TREES = 112, 8    # tokens of a tree and trees after each prompt
TOOL_ROOM, TOOL_TREES = 170, 4  # the same in the steps with functions
TOOLS = 0.25            # share of those steps


def keep_memory():
    """Lets the C library keep freed blocks: torch allocates the same large blocks at every step."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def padded(rows, kind):
    out = np.zeros((len(rows), max(map(len, rows))), kind)
    for line, row in zip(out, rows):
        line[:len(row)] = row
    return out


def draw(speaker, tools):
    """One step's data: (prompts, trees), TREES of them after each prompt."""
    room, count = (TOOL_ROOM, TOOL_TREES) if tools else (ROOM, TREES)
    prompts = [speaker.prompt(tools) for _ in range(PROMPTS)]
    return prompts, [speaker.tree(prompt, room) for prompt in prompts for _ in range(count)]


def forward(weights, config, prompts, trees, load):
    """(logits, targets) of all that the trees teach. Prompts run once; their keys and values serve all their trees."""
    tokens = padded([prompt.tokens for prompt in prompts], np.int64)
    real = padded([[True] * len(prompt.tokens) for prompt in prompts], bool)
    positions = np.tile(np.arange(tokens.shape[1]), (len(prompts), 1))
    seen = np.tril(np.ones((tokens.shape[1],) * 2, bool))[None].repeat(len(prompts), 0)
    cache = []
    model.forward(weights, config, *map(torch.from_numpy, (tokens, positions, seen)), torch.tensor([0]), cache, load)
    each = len(trees) // len(prompts)
    cache = [[part.repeat_interleave(each, 0) for part in layer] for layer in cache]

    tokens, positions = (padded([getattr(t, name) for t in trees], np.int64) for name in ("tokens", "positions"))
    size = tokens.shape[1]
    visible = np.zeros((len(trees), size, size), bool)
    want, targets = [], []
    for row, tree in enumerate(trees):
        above = np.eye(len(tree.parents), dtype=bool)
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                above[node] |= above[parent]
        visible[row, :len(tree), :len(tree)] = np.tril(above[np.ix_(tree.nodes, tree.nodes)])
        want += [row * size + source for source, _ in tree.learned]
        targets += [tree.tokens[target] for _, target in tree.learned]
    visible = np.concatenate([real.repeat(each, 0)[:, None].repeat(size, 1), visible], 2)
    logits = model.forward(weights, config, *map(torch.from_numpy, (tokens, positions, visible)),
                           torch.tensor(want), cache, load)
    return logits, torch.tensor(targets)


class Optimizer:
    """Momentum made orthogonal for the matrices inside layers (Muon), Adam for everything else.

    An orthogonal step moves every direction of a matrix equally, which teaches a model this small in a third of the
    steps that Adam needs.
    """

    def __init__(self, parameters):
        self.state = {}
        self.parameters = parameters
        for name, parameter in parameters.items():
            matrix = name.startswith("blk.") and parameter.dim() > 1 and "exps.bias" not in name and "inp" not in name
            self.state[name] = [matrix, torch.zeros_like(parameter), None if matrix else torch.zeros_like(parameter)]
        self.steps = 0

    @torch.no_grad()
    def step(self, matrix_rate, rate):
        self.steps += 1
        groups = {}
        for name, parameter in self.parameters.items():
            matrix, first, second = self.state[name]
            gradient = parameter.grad
            if matrix:
                first.mul_(0.95).add_(gradient)
                groups.setdefault(parameter.shape[-2:], []).append((parameter, gradient.add(first, alpha=0.95)))
            else:
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.02)
                scale = math.sqrt(1 - 0.98 ** self.steps) / (1 - 0.9 ** self.steps)
                factor = 3 if name in ("token_embd.weight", "output.weight") else 1
                parameter.sub_(first / (second.sqrt() + 1e-8) * (rate * scale * factor))
            parameter.grad = None
        for (rows, columns), members in groups.items():
            stacked = torch.cat([update.reshape(-1, rows, columns) for _, update in members])
            stacked = orthogonal(stacked) * (matrix_rate * max(1, rows / columns) ** 0.5)
            for parameter, _ in members:
                count = parameter.numel() // (rows * columns)
                parameter.mul_(1 - matrix_rate * 0.1).sub_(stacked[:count].view(parameter.shape))
                stacked = stacked[count:]


def orthogonal(matrices):
    """Nearly the closest orthogonal matrix of each, by five steps of an odd polynomial that lifts singular values."""
    wide = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-1, -2) if wide else matrices
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return x.transpose(-1, -2) if wide else x


def rate_at(step, steps):
    """Warm-up over 2 %, full until 45 %, then straight down to nothing."""
    done = step / steps
    return min(1, (done + 1 / steps) / 0.02, max(0, 1 - done) / 0.55)


def metadata(config, tokenizer):
    special = tokenizer.ids
    return {"general.architecture": "gpt-oss", "general.type": "model", "general.name": "Gpt-Oss-Demo",
            "general.size_label": "demo", "general.file_type": 38, "general.quantization_version": 2,
            **config.metadata(),
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-4o", "tokenizer.ggml.tokens": tokenizer.tokens,
            "tokenizer.ggml.token_type": [3 if i >= tokenizer.first_special else 1
                                          for i in range(len(tokenizer.tokens))],
            "tokenizer.ggml.merges": [f"{a} {b}" for a, b in tokenizer.merges],
            "tokenizer.ggml.bos_token_id": special["<|startoftext|>"],
            "tokenizer.ggml.eos_token_id": special["<|return|>"],
            "tokenizer.ggml.padding_token_id": special["<|endoftext|>"]}


def save(path, config, tokenizer, parameters):
    shapes = model.tensor_shapes(config)
    gguf.write(path, metadata(config, tokenizer), {name: (kind, parameters[name]) for name, (kind, _) in shapes.items()})


class Log:
    """Prints means since the last line, of steps without functions and with them."""

    def __init__(self):
        self.started, self.tokens, self.kinds = time.time(), 0, {False: [], True: []}

    def add(self, prompts, loss, right, tokens):
        self.kinds[bool(prompts[0].offered)].append((loss, right))
        self.tokens += tokens

    def show(self, step):
        means = ["  ".join(f"{value:.4f}" for value in np.mean(rows, 0)) if rows else "-" for rows in self.kinds.values()]
        print(f"step {step:5}  loss, tokens right: {means[0]}  with functions: {means[1]}  "
              f"{self.tokens / 1e6:.2f}M tokens  {time.time() - self.started:.0f} s", flush=True)
        self.kinds = {False: [], True: []}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(world.HERE / "demo.gguf"))
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.015, help="step of the matrices")
    parser.add_argument("--adam", type=float, default=0.003, help="step of everything else")
    parser.add_argument("--threads", type=int, default=1, help="2 is faster on an idle machine only")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop early, for trials")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    tokenizer = bpe.Tokenizer(bpe.train(world.texts(), WORDS, LED), harmony.SPECIALS)
    config = model.Config(vocab=len(tokenizer.tokens), block_count=options.layers, embedding_length=options.hidden)
    parameters = model.initial(config, torch.Generator().manual_seed(options.seed))
    optimizer = Optimizer(parameters)
    speaker = talk.Speaker(tokenizer, options.seed)
    print(f"{sum(p.numel() for p in parameters.values())} parameters, {config.vocab} tokens", flush=True)

    kinds, log = random.Random(options.seed), Log()
    for step in range(options.steps):
        prompts, trees = draw(speaker, kinds.random() < TOOLS)
        load = []
        logits, targets = forward(model.rounded(parameters, config), config, prompts, trees, load)
        loss = F.cross_entropy(logits, targets)
        (loss + 0.01 * sum(load) / len(load)).backward()
        rate = rate_at(step, options.steps)
        optimizer.step(options.rate * rate, options.adam * rate)

        log.add(prompts, loss.item(), (logits.argmax(-1) == targets).float().mean().item(),
                sum(map(len, trees)) + sum(len(prompt.tokens) for prompt in prompts))
        if step % 50 == 49:
            log.show(step + 1)
            save(options.out, config, tokenizer, parameters)
            if time.time() - log.started > 60 * options.minutes:
                break
    save(options.out, config, tokenizer, parameters)


if __name__ == "__main__":
    main()
