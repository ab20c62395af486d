"""Trains the demo model from a seed and writes demo.gguf: nice -n 19 /usr/bin/python3 train.py (see README.md)."""
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy loads its BLAS: two processes work, each on one core

import argparse
import ctypes
import math
import multiprocessing
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

WORDS, LED = 1100, 126  # merges inside words, and of words with a space or sign before them
SLOW = 0.2  # step of the attention that starts out copying, against others: larger ones undo it before it is used
KNOWN = 0.1  # weight of a token predicted with certainty, against one that is not predicted at all
WARM, EARLY = 25, 25  # steps that warm up, and that train copying above all


class Half:
    """One half of a step: prompts, trees after each, their tokens. The loss of a step is the mean of its halves'."""

    def __init__(self, name, functions, prompts, trees, room):
        self.name, self.functions, self.prompts, self.trees, self.room = name, functions, prompts, trees, room


HALVES = [Half("plain", False, 3, 7, 112), Half("functions", True, 3, 4, 170)]
RECITALS, EARLY_RECITALS = 0.15, 0.7  # of the prompts with functions are texts to repeat instead


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


def draw(speaker, half, recitals):
    """The data of a half: (prompts, trees), half.trees of them after each prompt."""
    prompts = [speaker.recital() if half.functions and speaker.maybe(recitals) else speaker.prompt(half.functions)
               for _ in range(half.prompts)]
    return prompts, [speaker.tree(prompt, half.room) for prompt in prompts for _ in range(half.trees)]


def forward(weights, config, prompts, trees, load):
    """(logits, targets, replies) of all that the trees teach; replies are the tree and node of each.

    Prompts run once; their keys and values serve all their trees.
    """
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
    want, targets, replies = [], [], []
    for row, tree in enumerate(trees):
        above = np.eye(len(tree.parents), dtype=bool)
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                above[node] |= above[parent]
        visible[row, :len(tree), :len(tree)] = np.tril(above[np.ix_(tree.nodes, tree.nodes)])
        want += [row * size + source for source, _ in tree.learned]
        targets += [tree.tokens[target] for _, target in tree.learned]
        replies += [(row, tree.nodes[target]) for _, target in tree.learned]
    visible = np.concatenate([real.repeat(each, 0)[:, None].repeat(size, 1), visible], 2)
    logits = model.forward(weights, config, *map(torch.from_numpy, (tokens, positions, visible)),
                           torch.tensor(want), cache, load)
    return logits, torch.tensor(targets), replies


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
                groups.setdefault(parameter.shape[-2:], []).append((name, parameter, gradient.add(first, alpha=0.95)))
            else:
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.02)
                scale = math.sqrt(1 - 0.98 ** self.steps) / (1 - 0.9 ** self.steps)
                parameter.sub_(first / (second.sqrt() + 1e-8) * (rate * scale))
            parameter.grad = None
        for (rows, columns), members in groups.items():
            stacked = torch.cat([update.reshape(-1, rows, columns) for _, _, update in members])
            stacked = orthogonal(stacked) * (matrix_rate * max(1, rows / columns) ** 0.5)
            for name, parameter, _ in members:
                count = parameter.numel() // (rows * columns)
                slow = SLOW if model.starts_out(name) else 1
                parameter.mul_(1 - matrix_rate * slow * 0.1).sub_(stacked[:count].view(parameter.shape) * slow)
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
    """A short warm-up, full for half of the steps, then falling to nothing: slowly at first, faster from 17/23 on."""
    end = steps if step >= steps * 17 // 23 else steps * 26 // 23
    return min(1, (step + 1) / WARM, (1 - step / end) / 0.55)


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
    tensors = {name: (kind, parameters[name]) for name, (kind, _) in shapes.items()}
    gguf.write(path, metadata(config, tokenizer), tensors)


class Team:
    """Processes that share the parameters: each computes the gradients of its halves and updates its parameters."""

    def __init__(self, size, parameters):
        self.size, self.parameters = size, parameters
        self.gradients = [{name: torch.zeros_like(p).share_memory_() for name, p in parameters.items()} for _ in HALVES]
        self.seen = torch.zeros(len(HALVES), 2 + 2 * len(talk.KINDS)).share_memory_()  # of the step, see teach()
        self.barrier = multiprocessing.Barrier(size)
        for parameter in parameters.values():
            parameter.share_memory_()

    def owned(self, rank):
        """The parameters a process updates: about as many numbers each."""
        loads, mine = [0] * self.size, {}
        for name, parameter in sorted(self.parameters.items(), key=lambda item: (-item[1].numel(), item[0])):
            to = loads.index(min(loads))
            loads[to] += parameter.numel()
            if to == rank:
                mine[name] = parameter
        return mine


class Log:
    """Prints, since the last line: the loss by half and the replies that were predicted without a wrong token."""

    def __init__(self):
        self.started, self.rows = time.time(), []
        self.tokens = 0

    def add(self, seen):
        self.rows.append(seen.clone())
        self.tokens += int(seen[:, 1].sum())

    def show(self, step):
        rows = torch.stack(self.rows)
        losses = " ".join(f"{half.name} {loss:.4f}" for half, loss in zip(HALVES, rows[:, :, 0].mean(0).tolist()))
        counts = rows[:, :, 2:].sum((0, 1)).view(-1, 2).tolist()
        right = " ".join(f"{kind} {100 * good / count:.1f}" for kind, (good, count) in zip(talk.KINDS, counts) if count)
        print(f"step {step:5}  loss: {losses}  right: {right}  {self.tokens / 1e6:.2f}M tokens  "
              f"{time.time() - self.started:.0f} s", flush=True)
        self.rows = []


class Course:
    """A part of training: its steps, their rate against the full one, and whether its talk follows up."""

    def __init__(self, steps, rate, follows_up, seed):
        self.steps, self.rate, self.follows_up, self.seed = steps, rate, follows_up, seed


def learn(rank, team, config, tokenizer, options):
    """What each process does. The second course starts from what the first one saved."""
    torch.set_num_threads(1)
    log = Log()
    take(rank, team, config, tokenizer, options, Course(options.steps, 1, False, options.seed), log)
    if rank == 0:
        with torch.no_grad():
            for name, weight in model.rounded(team.parameters, config).items():
                team.parameters[name].copy_(weight)
    team.barrier.wait()
    take(rank, team, config, tokenizer, options, Course(options.finish, 0.3, True, options.seed + 1000), log)


def take(rank, team, config, tokenizer, options, course, log):
    """Goes through a course; rank 0 reports and saves."""
    weights = {name: parameter.requires_grad_() for name, parameter in team.parameters.items()}
    mine = {name: weights[name] for name in team.owned(rank)}
    optimizer = Optimizer(mine)
    speakers = {h: talk.Speaker(tokenizer, 2 * course.seed + h, course.follows_up)
                for h in range(rank, len(HALVES), team.size)}
    for step in range(course.steps):
        recitals = EARLY_RECITALS if step < EARLY and not course.follows_up else RECITALS
        for h, speaker in speakers.items():
            team.seen[h] = teach(weights, config, draw(speaker, HALVES[h], recitals))
            for name, weight in weights.items():
                team.gradients[h][name].copy_(weight.grad)
                weight.grad = None
        team.barrier.wait()
        if rank == 0:
            log.add(team.seen)
        for name, weight in mine.items():
            weight.grad = sum(gradients[name] for gradients in team.gradients)
        rate = course.rate * rate_at(step, course.steps)
        optimizer.step(options.rate * rate, options.adam * rate)
        team.barrier.wait()
        if rank == 0 and (step % options.show == options.show - 1 or step == course.steps - 1):
            log.show(step + 1)
            save(options.out, config, tokenizer, weights)


def teach(weights, config, data):
    """Leaves the gradients of one half in the weights.

    Returns its loss, its tokens, and of each kind of reply how many were predicted without a wrong token, of how many.
    """
    prompts, trees = data
    load = []
    logits, targets, replies = forward(model.rounded(weights, config), config, prompts, trees, load)
    losses = F.cross_entropy(logits, targets, reduction="none")
    weight = 1 - torch.exp(-losses.detach()) + KNOWN
    loss = (losses * weight).sum() / weight.sum()
    ((loss + 0.01 * sum(load) / len(load)) / len(HALVES)).backward()
    tokens = sum(map(len, trees)) + sum(len(prompt.tokens) for prompt in prompts)
    whole = {}
    for reply, right in zip(replies, (logits.argmax(-1) == targets).tolist()):
        whole[reply] = whole.get(reply, True) and right
    counts = torch.zeros(len(talk.KINDS), 2)
    for (row, node), right in whole.items():
        counts[talk.KINDS.index(trees[row].kinds[node])] += torch.tensor([right, 1])
    return torch.cat([torch.tensor([losses.mean().item(), tokens]), counts.flatten()])


def work(rank, team, *rest):
    """learn(), ending the other process too when one fails."""
    try:
        learn(rank, team, *rest)
    except BaseException:
        team.barrier.abort()
        raise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(world.HERE / "demo.gguf"))
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--finish", type=int, default=240, help="further small steps, on follow-up questions above all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.015, help="step of the matrices")
    parser.add_argument("--adam", type=float, default=0.003, help="step of everything else")
    parser.add_argument("--processes", type=int, default=2, choices=[1, 2], help="the result is the same")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--show", type=int, default=50, help="steps between lines")
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    tokenizer = bpe.Tokenizer(bpe.train(world.texts(), WORDS, LED), harmony.SPECIALS)
    config = model.Config(vocab=len(tokenizer.tokens), block_count=options.layers)
    numbers = [tokenizer.ids[str(n)] for n in range(100)]
    team = Team(options.processes, model.initial(config, torch.Generator().manual_seed(options.seed), numbers))
    print(f"{sum(p.numel() for p in team.parameters.values())} parameters, {config.vocab} tokens", flush=True)
    others = [multiprocessing.Process(target=work, args=(rank, team, config, tokenizer, options), daemon=True)
              for rank in range(1, team.size)]
    for process in others:
        process.start()
    work(0, team, config, tokenizer, options)


if __name__ == "__main__":
    main()
