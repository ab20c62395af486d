"""The gpt-oss architecture in torch: for training (a batch of packed conversations) and for checking a file."""
import math
import re

import torch
import torch.nn.functional as F

import gguf
import quant

LIMIT, ALPHA = 7.0, 1.702
PERIODS = [5, 7, 11, 60, 3, 18]  # of the codes that numbers start out with


class Config:
    """Hyper-parameters under their GGUF names."""

    def __init__(self, **values):
        self.vocab = values["vocab"]
        self.layers = values.get("block_count", 6)
        self.hidden = values.get("embedding_length", 192)
        self.ffn = values.get("expert_feed_forward_length", 64)
        self.heads = values.get("attention.head_count", 4)
        self.kv_heads = values.get("attention.head_count_kv", 2)
        self.head = values.get("attention.key_length", 64)
        self.experts = values.get("expert_count", 8)
        self.used = values.get("expert_used_count", 4)
        self.window = values.get("attention.sliding_window", 96)
        self.eps = values.get("attention.layer_norm_rms_epsilon", 1e-5)
        self.base = values.get("rope.freq_base", 150000.0)
        self.factor = values.get("rope.scaling.factor", 32.0)
        self.original = values.get("rope.scaling.original_context_length", 4096)
        self.context = values.get("context_length", 131072)

    def metadata(self):
        return {"gpt-oss.block_count": self.layers, "gpt-oss.context_length": self.context,
                "gpt-oss.embedding_length": self.hidden, "gpt-oss.feed_forward_length": self.ffn,
                "gpt-oss.attention.head_count": self.heads, "gpt-oss.attention.head_count_kv": self.kv_heads,
                "gpt-oss.rope.freq_base": self.base, "gpt-oss.attention.layer_norm_rms_epsilon": self.eps,
                "gpt-oss.expert_count": self.experts, "gpt-oss.expert_used_count": self.used,
                "gpt-oss.attention.key_length": self.head, "gpt-oss.attention.value_length": self.head,
                "gpt-oss.attention.sliding_window": self.window, "gpt-oss.expert_feed_forward_length": self.ffn,
                "gpt-oss.rope.scaling.type": "yarn", "gpt-oss.rope.scaling.factor": self.factor,
                "gpt-oss.rope.scaling.original_context_length": self.original}


def tensor_shapes(config):
    """name -> (type in the file, shape): the tensors of a gpt-oss GGUF, fastest dimension last."""
    d, f, e = config.hidden, config.ffn, config.experts
    q, kv = config.heads * config.head, config.kv_heads * config.head
    shapes = {"token_embd.weight": (gguf.Q8_0, (config.vocab, d))}
    for n in range(config.layers):
        layer = {"attn_norm.weight": (gguf.F32, (d,)),
                 "attn_q.weight": (gguf.Q8_0, (q, d)), "attn_q.bias": (gguf.F32, (q,)),
                 "attn_k.weight": (gguf.Q8_0, (kv, d)), "attn_k.bias": (gguf.F32, (kv,)),
                 "attn_v.weight": (gguf.Q8_0, (kv, d)), "attn_v.bias": (gguf.F32, (kv,)),
                 "attn_sinks.weight": (gguf.F32, (config.heads,)),
                 "attn_output.weight": (gguf.Q8_0, (d, q)), "attn_output.bias": (gguf.F32, (d,)),
                 "post_attention_norm.weight": (gguf.F32, (d,)),
                 "ffn_gate_inp.weight": (gguf.F32, (e, d)), "ffn_gate_inp.bias": (gguf.F32, (e,)),
                 "ffn_gate_exps.weight": (gguf.MXFP4, (e, f, d)), "ffn_gate_exps.bias": (gguf.F32, (e, f)),
                 "ffn_up_exps.weight": (gguf.MXFP4, (e, f, d)), "ffn_up_exps.bias": (gguf.F32, (e, f)),
                 "ffn_down_exps.weight": (gguf.MXFP4, (e, d, f)), "ffn_down_exps.bias": (gguf.F32, (e, d))}
        shapes.update({f"blk.{n}.{name}": item for name, item in layer.items()})
    shapes["output_norm.weight"] = (gguf.F32, (d,))
    shapes["output.weight"] = (gguf.Q8_0, (config.vocab, d))
    return shapes


def initial(config, generator, numbers):
    """Fresh parameters: matrices at the size that keeps activations near 1, the ends of residual branches smaller.

    numbers are the ids of the tokens 0, 1, 2, .. (see number_codes).
    """
    parameters = {}
    for name, (kind, shape) in tensor_shapes(config).items():
        if kind == gguf.F32 and not name.endswith("gate_inp.weight"):
            parameters[name] = torch.full(shape, 1.0 if "norm" in name else 0.0)
            continue
        deviation = shape[-1] ** -0.5
        if name.endswith(("attn_output.weight", "down_exps.weight")):
            deviation *= (2 * config.layers) ** -0.5
        parameters[name] = torch.randn(shape, generator=generator) * deviation
    start_copying(parameters, config, generator, numbers)
    return parameters


def number_codes(count):
    """The codes of 0, 1, .. count - 1 [count, 2 * len(PERIODS)]: where each stands on circles of several periods.

    Sums and differences turn such circles, which products of two codes do; numbers learned one by one would need many
    times the examples.
    """
    angle = 2 * math.pi * torch.arange(count).unsqueeze(1) / torch.tensor(PERIODS)
    return torch.stack([angle.cos(), angle.sin()], -1).flatten(1) * 2 ** 0.5


def start_copying(parameters, config, generator, numbers):
    """Lays heads out so that text which occurred before is continued as it was then.

    Copying is what most of the demo's answers need and what training finds last when it starts from noise. The residual
    stream starts out in parts at right angles: the code of the token itself, what comes next (which the output matrix
    reads), and the beginnings of the codes of the one, two and three tokens before, which layer 0 fills in. In layer 1
    each token looks for tokens that come after one like itself (first KV head) or after three like itself and the two
    before it (second), and writes what it finds where the output matrix reads; where nothing fits, the sinks take it.
    The first KV head of later odd layers writes what it sees there too, but must learn where to look.
    """
    size, group = config.head, config.heads // config.kv_heads
    slow = slow_rows(config)
    widths = [size, size, len(slow), 16, 12]
    basis = torch.linalg.qr(torch.randn(config.hidden, config.hidden, generator=generator))[0]
    itself, coming, *before = basis[:sum(widths)].split(widths)
    codes = torch.randn(config.vocab, size, generator=generator)
    codes[numbers, :2 * len(PERIODS)] = number_codes(len(numbers))
    for name, place, scale in (("token_embd.weight", itself, 0.5), ("output.weight", coming, 0.2)):
        parameters[name] = codes @ place * scale + 0.02 * torch.randn(config.vocab, config.hidden, generator=generator)

    start_noting(parameters, config, itself, before)
    one, two, three = before
    wanted = [itself[:len(slow)], torch.cat([itself[:14], one[:12], two[:8]])]
    offered = [one, torch.cat([one[:14], two[:12], three[:8]])]
    for kv in range(2):
        rows(parameters, config, "blk.1.attn_k.weight", kv).mul_(0.1)[slow] = 1.6 * offered[kv]
        for head in range(kv * group, (kv + 1) * group):
            rows(parameters, config, "blk.1.attn_q.weight", head).mul_(0.1)[slow] = 1.6 * wanted[kv]
            parameters["blk.1.attn_sinks.weight"][head] = 18
        start_moving(parameters, config, 1, kv, itself, coming * (kv + 1) * 2 / group)
    for layer in range(3, config.layers, 2):
        start_moving(parameters, config, layer, 0, itself, coming)


def rows(parameters, config, name, head):
    """The part of an attention parameter that belongs to a head."""
    return parameters[name][head * config.head:(head + 1) * config.head]


def slow_rows(config):
    """The rows of a head whose rotary pairs turn too slowly to see distance."""
    half = config.head // 2
    return torch.cat([torch.arange(15, half), torch.arange(15, half) + half])


def start_noting(parameters, config, itself, before):
    """Layer 0: a head for each distance, 1, 2, .., takes the token there into before[distance - 1].

    Fast rotary pairs, fed by biases alone, peak at that distance.
    """
    size, half, fast = config.head, config.head // 2, 6
    angle = config.base ** (-2 * torch.arange(fast) / size)
    for kv in range(2):
        rows(parameters, config, "blk.0.attn_k.weight", kv).mul_(0.1)
        rows(parameters, config, "blk.0.attn_k.bias", kv)[:fast] = 5
        rows(parameters, config, "blk.0.attn_v.weight", kv).copy_(itself)
    for head, place in enumerate(before):
        turn = (head + 1) * angle
        rows(parameters, config, "blk.0.attn_q.weight", head).mul_(0.1)
        bias = rows(parameters, config, "blk.0.attn_q.bias", head)
        bias[:fast], bias[half:half + fast] = 5 * turn.cos(), -5 * turn.sin()
        begin = torch.eye(size)[:len(place)]
        parameters["blk.0.attn_output.weight"][:, head * size:(head + 1) * size] = 0.29 * place.T @ begin


def start_moving(parameters, config, layer, kv, source, target):
    """The heads of a KV head write the part of the stream at `source` rows, where they look, to the `target` rows."""
    rows(parameters, config, f"blk.{layer}.attn_v.weight", kv).copy_(source)
    group = config.heads // config.kv_heads
    for head in range(kv * group, (kv + 1) * group):
        parameters[f"blk.{layer}.attn_output.weight"][:, head * config.head:(head + 1) * config.head] = target.T


def starts_out(name):
    """Whether start_copying() lays the matrix of this name out."""
    layer, part = re.fullmatch(r"(?:blk\.(\d+)\.attn_(q|k|v|output)\.weight)?.*", name).groups()
    return layer is not None and (int(layer) < 2 or int(layer) % 2 == 1 and part in ("v", "output"))


class Round(torch.autograd.Function):
    """Rounds to what the file will hold; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, weights, kind):
        return (quant.q8_0_round if kind == gguf.Q8_0 else quant.mxfp4_round)(weights)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def rounded(parameters, config):
    """The weights as the file holds them."""
    return {name: parameters[name] if kind == gguf.F32 else Round.apply(parameters[name], kind)
            for name, (kind, _) in tensor_shapes(config).items()}


class Attention(torch.autograd.Function):
    """softmax(q k^T + mask) v with one sink logit a head in the denominator; q is scaled already.

    q, k, v [batch, heads, tokens, size], mask [batch, 1, tokens, tokens] of 0 and -inf, sinks [heads].
    """

    @staticmethod
    def forward(ctx, q, k, v, mask, sinks):
        scores = torch.matmul(q, k.transpose(-1, -2)).add_(mask)
        sink = sinks.view(1, -1, 1, 1)
        top = torch.maximum(scores.amax(-1, keepdim=True), sink)
        share = scores.sub_(top).exp_()
        sunk = torch.exp(sink - top)
        total = share.sum(-1, keepdim=True).add_(sunk)
        share.div_(total)
        out = torch.matmul(share, v)
        ctx.save_for_backward(q, k, v, share, sunk.div_(total), out)
        return out

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, share, sunk, out = ctx.saved_tensors
        common = (gradient * out).sum(-1, keepdim=True)
        scores = torch.matmul(gradient, v.transpose(-1, -2)).sub_(common).mul_(share)
        return (torch.matmul(scores, k), torch.matmul(scores.transpose(-1, -2), q),
                torch.matmul(share.transpose(-1, -2), gradient), None, -(sunk * common).sum((0, 2, 3)))


def rotary(config, positions):
    """cos and sin [..., head / 2] with YaRN's blend of frequencies (its bounds are not rounded) and magnitude."""
    half = config.head // 2
    j = torch.arange(half, dtype=torch.float64)
    frequency = config.base ** (-2 * j / config.head)

    def bound(turns):
        return config.head * math.log(config.original / (2 * math.pi * turns)) / (2 * math.log(config.base))

    low, high = bound(32), bound(1)
    ramp = ((j - low) / (high - low)).clamp(0, 1)
    angle = positions.double().unsqueeze(-1) * (frequency / config.factor * ramp + frequency * (1 - ramp))
    magnitude = 1 + 0.1 * math.log(config.factor)
    return angle.cos() * magnitude, angle.sin() * magnitude


def rotate(x, cos, sin):
    """x [batch, tokens, heads, size], pairs (j, j + size / 2); cos, sin [batch, tokens, 1, size / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def experts(weights, prefix, config, x, load=None):
    """The mixture of experts on x [tokens, hidden]; load, when a list, receives the balance term of this layer."""
    logits = F.linear(x, weights[prefix + "ffn_gate_inp.weight"], weights[prefix + "ffn_gate_inp.bias"])
    top, chosen = logits.topk(config.used, -1)
    share = top.softmax(-1)
    if load is not None:
        used = torch.zeros_like(logits).scatter_(1, chosen, 1.0).mean(0) / config.used
        load.append(config.experts * (used * logits.softmax(-1).mean(0)).sum())
    out = torch.zeros_like(x)
    for e in range(config.experts):
        token, slot = (chosen == e).nonzero(as_tuple=True)
        if len(token) == 0:
            continue
        h = x.index_select(0, token)
        gate = F.linear(h, weights[prefix + "ffn_gate_exps.weight"][e], weights[prefix + "ffn_gate_exps.bias"][e])
        up = F.linear(h, weights[prefix + "ffn_up_exps.weight"][e], weights[prefix + "ffn_up_exps.bias"][e])
        gate, up = gate.clamp(max=LIMIT), up.clamp(-LIMIT, LIMIT)
        h = F.silu(gate * ALPHA) * ((up + 1) / ALPHA)
        h = F.linear(h, weights[prefix + "ffn_down_exps.weight"][e], weights[prefix + "ffn_down_exps.bias"][e])
        out = out.index_add(0, token, h * share[token, slot].unsqueeze(-1))
    return out


def forward(weights, config, tokens, positions, visible, want=None, cache=None, load=None, keep=None):
    """Logits [.., vocab] of tokens [batch, count] at positions [batch, count].

    visible [batch, count, seen] is true where a token may look (ancestors only); the window is applied here.
    want: indices into the flattened tokens whose logits are wanted (all when None).
    cache: a list of (keys, values, positions) a layer of the tokens before, which seen counts too; it is extended by
    these, rounded to the type keep if one is given.
    """
    batch, count = tokens.shape
    kind = weights["token_embd.weight"].dtype
    cos, sin = (part.to(kind).unsqueeze(2) for part in rotary(config, positions))
    seen = positions if not cache else torch.cat([cache[0][2], positions], 1)
    near = visible & (positions.unsqueeze(2) - seen.unsqueeze(1) < config.window)
    masks = [torch.zeros(m.shape, dtype=kind).masked_fill_(~m, -1e30).unsqueeze(1) for m in (near, visible)]
    x = F.embedding(tokens, weights["token_embd.weight"])
    for n in range(config.layers):
        p = f"blk.{n}."
        h = rms_norm(x, weights[p + "attn_norm.weight"], config.eps)

        def project(name, heads):
            out = F.linear(h, weights[f"{p}attn_{name}.weight"], weights[f"{p}attn_{name}.bias"])
            return out.view(batch, count, heads, config.head)

        q = rotate(project("q", config.heads), cos, sin) * config.head ** -0.5
        k, v = rotate(project("k", config.kv_heads), cos, sin), project("v", config.kv_heads)
        if cache is not None:
            if keep:
                k, v = k.to(keep).to(kind), v.to(keep).to(kind)
            if len(cache) > n:
                k, v = torch.cat([cache[n][0], k], 1), torch.cat([cache[n][1], v], 1)
                cache[n] = (k, v, seen)
            else:
                cache.append((k, v, seen))
        group = config.heads // config.kv_heads
        k, v = (t.transpose(1, 2).repeat_interleave(group, 1) for t in (k, v))
        h = Attention.apply(q.transpose(1, 2), k, v, masks[n % 2], weights[p + "attn_sinks.weight"])
        h = h.transpose(1, 2).reshape(batch, count, -1)
        x = x + F.linear(h, weights[p + "attn_output.weight"], weights[p + "attn_output.bias"])
        h = rms_norm(x, weights[p + "post_attention_norm.weight"], config.eps)
        x = x + experts(weights, p, config, h.view(batch * count, -1), load).view(x.shape)
    x = x.view(batch * count, -1)
    if want is not None:
        x = x.index_select(0, want)
    return F.linear(rms_norm(x, weights["output_norm.weight"], config.eps), weights["output.weight"])


def load_file(path):
    """(config, weights, metadata) of a GGUF file this folder's reader understands."""
    metadata, weights = gguf.read(path)
    values = {key.removeprefix("gpt-oss."): item for key, item in metadata.items() if key.startswith("gpt-oss.")}
    return Config(vocab=len(metadata["tokenizer.ggml.tokens"]), **values), weights, metadata
