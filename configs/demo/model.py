"""The gpt-oss architecture in torch: for training (a batch of packed conversations) and for checking a file."""
import math

import torch
import torch.nn.functional as F

import gguf
import quant

LIMIT, ALPHA = 7.0, 1.702


class Config:
    """Hyper-parameters under their GGUF names."""

    def __init__(self, **values):
        self.vocab = values["vocab"]
        self.layers = values.get("block_count", 4)
        self.hidden = values.get("embedding_length", 128)
        self.ffn = values.get("expert_feed_forward_length", 128)
        self.heads = values.get("attention.head_count", 4)
        self.kv_heads = values.get("attention.head_count_kv", 2)
        self.head = values.get("attention.key_length", 64)
        self.experts = values.get("expert_count", 8)
        self.used = values.get("expert_used_count", 4)
        self.window = values.get("attention.sliding_window", 64)
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


def initial(config, generator):
    """Fresh parameters: matrices at the size that keeps activations near 1, the ends of residual branches smaller."""
    parameters = {}
    for name, (kind, shape) in tensor_shapes(config).items():
        if kind == gguf.F32 and not name.endswith("gate_inp.weight"):
            parameters[name] = torch.full(shape, 1.0 if "norm" in name else 0.0)
            continue
        deviation = shape[-1] ** -0.5
        if name.endswith(("attn_output.weight", "down_exps.weight")):
            deviation *= (2 * config.layers) ** -0.5
        if name == "token_embd.weight":
            deviation = 0.5
        parameters[name] = torch.randn(shape, generator=generator) * deviation
    parameters["output.weight"] = parameters["token_embd.weight"] * 0.2
    start_copying(parameters, config, generator)
    return {name: parameter.requires_grad_() for name, parameter in parameters.items()}


def start_copying(parameters, config, generator):
    """Lays heads of layers 0 and 1 out so that text which occurred before is continued as it was then.

    Copying is what most of the demo's answers need and what training finds last when it starts from noise. In layer 0
    every token takes note of the one and the other token before it: fast rotary pairs, fed by biases alone, peak at
    distances 1 and 2. In layer 1 a token looks for tokens that noted a token like itself (and, with the second KV head,
    before that one like the one before itself), in the slow rotary pairs, which hardly see distance, and adds what it
    finds there to its own prediction.
    """
    size, group = config.head, config.heads // config.kv_heads
    half, fast = size // 2, 6
    slow = torch.cat([torch.arange(12, half), torch.arange(12, half) + half])
    one, two = slow[::2], slow[1::2]

    def frame():  # orthonormal rows
        return torch.linalg.qr(torch.randn(config.hidden, size, generator=generator))[0].T

    def part(layer, name, head):
        return parameters[f"blk.{layer}.attn_{name}"][head * size:(head + 1) * size]

    noted, places = frame(), [frame(), frame()]
    angle = config.base ** (-2 * torch.arange(fast) / size)
    part(0, "k.weight", 0).mul_(0.3)
    part(0, "k.bias", 0)[:fast] = 5
    part(0, "v.weight", 0).copy_(noted)
    for head in (0, 1):
        turn = (head + 1) * angle
        part(0, "q.weight", head).mul_(0.3)
        part(0, "q.bias", head)[:fast], part(0, "q.bias", head)[half:half + fast] = 5 * turn.cos(), -5 * turn.sin()
        parameters["blk.0.attn_output.weight"][:, head * size:(head + 1) * size] = places[head].T * 0.5
    for kv in range(2):
        copied = frame()
        part(1, "v.weight", kv).copy_(copied)
        part(1, "k.weight", kv).mul_(0.2)[slow] = places[0][slow] * 1.5
        if kv == 1:
            part(1, "k.weight", kv)[two] = places[1][two] * 2
        for head in range(kv * group, (kv + 1) * group):
            part(1, "q.weight", head).mul_(0.2)[slow] = noted[slow] * 1.5
            if kv == 1:
                part(1, "q.weight", head)[two] = places[0][two] * 2
            parameters["blk.1.attn_output.weight"][:, head * size:(head + 1) * size] = copied.T * 0.5


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
