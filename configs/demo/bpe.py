"""Byte-level BPE with o200k's split pattern: training on this demo's own data, encoding and decoding."""
import functools
from collections import Counter

import regex

UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT = regex.compile("|".join([
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{CONTRACTION}",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{CONTRACTION}",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"]))
LEADING = regex.compile(r"([^\p{L}\p{N}])([\p{L}\p{M}].*)", regex.DOTALL)


def byte_letters():
    """The printable character that stands for each byte in a vocabulary of this kind (`tokenizer.ggml.model` gpt2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


LETTERS = byte_letters()
BYTES = {letter: byte for byte, letter in LETTERS.items()}


def spell(text):
    return "".join(LETTERS[b] for b in text.encode())


class Tokenizer:
    """tokens[id] is spelled in byte letters; merges are pairs in order of rank; specials follow the ordinary tokens."""

    def __init__(self, merges, specials):
        self.merges = merges
        self.tokens = [LETTERS[b] for b in range(256)] + [a + b for a, b in merges] + specials
        self.first_special = len(self.tokens) - len(specials)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.rank = {pair: i for i, pair in enumerate(merges)}
        self.special = regex.compile("(" + "|".join(regex.escape(s) for s in specials) + ")")
        self.piece = functools.lru_cache(maxsize=200000)(self._piece)

    def _piece(self, piece):
        return [self.ids[part] for part in apply_merges(list(spell(piece)), self.rank)]

    def encode(self, text):
        """Ids of a text in which special tokens are spelled by their names."""
        ids = []
        for i, part in enumerate(self.special.split(text)):
            if i % 2:
                ids.append(self.ids[part])
            else:
                for piece in SPLIT.findall(part):
                    ids += self.piece(piece)
        return ids

    def decode(self, ids):
        """The text of ids, special tokens by their names."""
        out = bytearray()
        for i in ids:
            token = self.tokens[i]
            out += token.encode() if i >= self.first_special else bytes(BYTES[c] for c in token)
        return out.decode(errors="replace")


def apply_merges(parts, rank):
    """Joins the neighbours of lowest rank until none is left."""
    while len(parts) > 1:
        best = min(zip(parts, parts[1:]), key=lambda pair: rank.get(pair, len(rank)))
        if best not in rank:
            break
        parts = join(parts, best)
    return parts


def join(parts, pair):
    out, i = [], 0
    while i < len(parts):
        if parts[i:i + 2] == [*pair]:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def learn(words, merges, wanted):
    """Appends to merges the most frequent pairs of words (counts by text), at most `wanted` of them."""
    rank = {pair: i for i, pair in enumerate(merges)}
    known = {a + b for a, b in merges}
    split = [(apply_merges(list(spell(word)), rank), count) for word, count in sorted(words.items())]
    for _ in range(wanted):
        pairs = Counter()
        for parts, count in split:
            for pair in zip(parts, parts[1:]):
                pairs[pair] += count
        for pair in [pair for pair in pairs if pair[0] + pair[1] in known]:
            del pairs[pair]  # another way to spell a token that exists already
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        known.add(best[0] + best[1])
        split = [(join(parts, best) if best[0] in parts else parts, count) for parts, count in split]


def train(texts, words, led):
    """Merges learned from texts (without special tokens): at most `words` of them inside words, then `led` with leads.

    Words are learned before the spaces and signs that lead them, so that a name is cut the same way after a space as
    after a quotation mark: that is what lets a small model copy a name into JSON. Numbers below 100 are one token each.
    """
    pieces = Counter(piece for text in texts for piece in SPLIT.findall(text))
    bare, leading = Counter(), Counter()
    for piece, count in pieces.items():
        match = LEADING.fullmatch(piece)
        if match:
            leading[piece] += count
        if not piece.isdigit():
            bare[match[2] if match else piece] += count
    merges = [(a, b) for a in "0123456789" for b in "0123456789"]
    learn(bare, merges, words)
    tokens = {a + b for a, b in merges}
    whole = {piece: count for piece, count in leading.items() if spell(LEADING.fullmatch(piece)[2]) in tokens}
    learn(whole, merges, led)
    return merges
