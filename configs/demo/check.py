"""Asks demo.gguf everything: greedy answers of the dequantized file in float32 with an f16 cache, as the program runs it.

/usr/bin/python3 check.py              prints the share of right answers in each way of asking
/usr/bin/python3 check.py --logits DIR writes a prompt's token ids and float64 logits for the program to be held against
"""
import argparse
import json
import pathlib
import random

import torch

import bpe
import harmony
import model
import talk
import world

DATE = "2026-11-22"
BATCH = 96
ROWS = 16  # of logits written down


def load_tokenizer(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    return bpe.Tokenizer(merges, tokens[256 + len(merges):])


class Demo:
    def __init__(self, path):
        self.config, self.weights, metadata = model.load_file(path)
        self.tokenizer = load_tokenizer(metadata)
        self.stops = [self.tokenizer.ids[name] for name in ("<|return|>", "<|call|>", "<|endoftext|>")]

    @torch.no_grad()
    def write(self, texts, most=120):
        """What the model writes after each Harmony text, greedily, up to and with the token that ends it."""
        out = [None] * len(texts)
        prompts = sorted((self.tokenizer.encode(text), i) for i, text in enumerate(texts))
        prompts.sort(key=lambda item: len(item[0]))
        for start in range(0, len(prompts), BATCH):
            part = prompts[start:start + BATCH]
            for (_, i), ids in zip(part, self.greedy([ids for ids, _ in part], most)):
                out[i] = self.tokenizer.decode(ids)
        return out

    def greedy(self, prompts, most):
        lengths = torch.tensor([len(ids) for ids in prompts])
        size = int(lengths.max())
        tokens = torch.zeros(len(prompts), size, dtype=torch.long)
        for row, ids in enumerate(prompts):
            tokens[row, :len(ids)] = torch.tensor(ids)
        positions = torch.arange(size).expand(len(prompts), size)
        real = positions < lengths.unsqueeze(1)
        visible = (positions.unsqueeze(2) >= positions.unsqueeze(1)) & real.unsqueeze(1)
        visible[:, :, 0] = True
        cache = []
        last = torch.arange(len(prompts)) * size + lengths - 1
        logits = model.forward(self.weights, self.config, tokens, positions, visible, last, cache,
                               keep=torch.float16)
        written, done = [[] for _ in prompts], [False] * len(prompts)
        for count in range(most):
            chosen = logits.argmax(-1)
            for row, token in enumerate(chosen.tolist()):
                if not done[row]:
                    written[row].append(token)
                    done[row] = token in self.stops
            if all(done):
                break
            real = torch.cat([real, torch.ones(len(prompts), 1, dtype=torch.bool)], 1)
            logits = model.forward(self.weights, self.config, chosen.unsqueeze(1), (lengths + count).unsqueeze(1),
                                   real.unsqueeze(1), None, cache, keep=torch.float16)
        return written


def answer(text):
    """The final message of a written text."""
    return text.partition("<|channel|>final<|message|>")[2].removesuffix("<|return|>")


def prefix(effort="medium", date=DATE, developer="", tools=False):
    return harmony.system(date, effort, tools) + developer


def report(name, texts, expected, found, show=3):
    right = [a == b for a, b in zip(expected, found)]
    print(f"{name:44} {sum(right):5} of {len(right):5}  {100 * sum(right) / len(right):6.2f} %", flush=True)
    for text, want, got, ok in zip(texts, expected, found, right):
        if not ok and show > 0:
            show -= 1
            print(f"    {text.rpartition('<|start|>user<|message|>')[2]!r}\n      wanted {want!r}\n      got    {got!r}")
    return sum(right) / len(right)


def check_pairs(demo, show):
    """Every pair in several ways of asking."""
    pairs = world.pairs()
    rng = random.Random(7)
    speaker = talk.Speaker(demo.tokenizer, 8)
    wanted = [pair["answer"] for pair in pairs]
    turns = [turn for _, turn in world.all_turns()]
    frame = harmony.message

    def ask(name, texts):
        report(name, texts, wanted, [answer(text) for text in demo.write(texts)], show)

    texts = [prefix() + harmony.user(pair["prompt"]) for pair in pairs]
    found = [answer(text) for text in demo.write(texts)]
    report("all pairs, as tests ask them", texts, wanted, found, 20)
    named = [i for i, pair in enumerate(pairs) if pair["named"]]
    report("the named pairs", *([items[i] for i in named] for items in (texts, wanted, found)), 60)
    for effort in ("low", "high"):
        ask(f"reasoning {effort}", [prefix(effort) + harmony.user(pair["prompt"]) for pair in pairs])
    ask("any date", [prefix(date=speaker.date()) + harmony.user(pair["prompt"]) for pair in pairs])
    ask("with instructions", [prefix(developer=harmony.developer(rng.choice(world.WORLD["instructions"])))
                              + harmony.user(pair["prompt"]) for pair in pairs])
    ask("lower case, no punctuation", [prefix() + harmony.user(pair["prompt"].lower().rstrip("?.")) for pair in pairs])
    ask("any phrasing", [prefix() + harmony.user(speaker.ask(turn.ask)) for turn in turns])
    before = [rng.choice(turns) for _ in turns]
    ask("as second question", [prefix() + frame("user", b.ask[0]) + "<|start|>assistant<|channel|>final<|message|>"
                               + b.answer + "<|end|>" + harmony.user(turn.ask[0]) for b, turn in zip(before, turns)])
    offered, declared = speaker.offer()
    ask("with functions offered", [prefix(developer=harmony.developer("", declared), tools=True)
                                   + harmony.user(pair["prompt"]) for pair in pairs])


def check_follow_ups(demo, show):
    speaker = talk.Speaker(demo.tokenizer, 9)
    texts, wanted = [], []
    for turn in [turn for _, turn in world.all_turns() for _ in range(2)]:
        then = speaker.follow_up(turn)
        if then:
            texts.append(prefix() + harmony.message("user", turn.ask[0]) + "<|start|>assistant<|channel|>final<|message|>"
                         + turn.answer + "<|end|>" + harmony.user(speaker.ask(then.ask)))
            wanted.append(then.answer)
    report("follow-up questions", texts, wanted, [answer(text) for text in demo.write(texts)], show)


def check_tools(demo, show):
    """Calls with names never seen in training, then what is made of a result."""
    rng = random.Random(10)
    tools, held_out = world.WORLD["tools"], world.WORLD["tools"]["held out"]
    weather = harmony.function("get_weather", "Gets the weather in a city.", [("Name of the city", "city: string,")])
    define = harmony.function("define", "Looks a word up in the dictionary.", [("The word to look up", "word: string,")])
    start = prefix(developer=harmony.developer("", [weather, define]), tools=True)
    speaker = talk.Speaker(demo.tokenizer, 11)
    made_up = {"cities": [], "words": []}
    while min(map(len, made_up.values())) < 60:
        name = speaker.word()
        if talk.held_out(name):
            made_up["cities"].append(name.title())
            made_up["words"].append(name)
    for title, source in (("real", held_out), ("made-up", made_up)):
        asked = ([(rng.choice(tools["weather"]["ask"]), x, "get_weather", "city", "weather") for x in source["cities"]]
                 + [(rng.choice(tools["define"]["ask"]), x, "define", "word", "define") for x in source["words"]])
        texts = [start + harmony.user(ask.replace("{x}", x)) for ask, x, *_ in asked]
        wanted = [f'{name} {json.dumps({key: x}, ensure_ascii=False, separators=(",", ":"))}'
                  for _, x, name, key, _ in asked]
        found = [text.partition("to=functions.")[2].replace(" <|constrain|>json<|message|>", " ").removesuffix("<|call|>")
                 for text in demo.write(texts)]
        report(f"function calls, {title} names", texts, wanted, found, show)
        results = [speaker.outcome() for _ in asked]
        texts = [text + harmony.past_call("", name, json.dumps({key: x}, ensure_ascii=False, separators=(",", ":")))
                 + harmony.result(name, raw) for text, (_, x, name, key, _), (raw, _) in zip(texts, asked, results)]
        wanted = [tools[kind]["answer"].replace("{x}", x).replace("{r}", said)
                  for (_, x, _, _, kind), (_, said) in zip(asked, results)]
        report(f"answers from results, {title} names", texts, wanted, [answer(t) for t in demo.write(texts)], show)
    texts, wanted, nouns = [], [], ["tide", "price", "population", "zorbit", "height", "owner"]
    for x in held_out["subjects"]:
        for noun in nouns:
            declared = harmony.function(f"get_{noun}", f"Gets the {noun}.", [("", "name: string,")])
            texts.append(prefix(developer=harmony.developer("", [declared]), tools=True)
                         + harmony.user(f"What is the {noun} of {x}?"))
            wanted.append(f'get_{noun} {{"name":"{x}"}}')
    found = [text.partition("to=functions.")[2].replace(" <|constrain|>json<|message|>", " ").removesuffix("<|call|>")
             for text in demo.write(texts)]
    report("calls of other functions", texts, wanted, found, show)


@torch.no_grad()
def write_logits(demo, folder):
    """tokens.json: a conversation; logits.f32: those of its last ROWS tokens ([row][vocabulary]), in float64."""
    text = prefix() + harmony.user("What is 2+2?") + harmony.reply("The user asks for 2 + 2. That is 4.", "2 + 2 = 4.")
    ids = demo.tokenizer.encode(text)
    tokens, positions = torch.tensor([ids]), torch.arange(len(ids)).unsqueeze(0)
    weights = {name: tensor.double() for name, tensor in demo.weights.items()}
    logits = model.forward(weights, demo.config, tokens, positions, positions.unsqueeze(2) >= positions.unsqueeze(1))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.json").write_text(json.dumps({"text": text, "tokens": ids, "rows": ROWS}) + "\n")
    (folder / "logits.f32").write_bytes(logits[-ROWS:].float().numpy().astype("<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", default=str(world.HERE / "demo.gguf"))
    parser.add_argument("--logits", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="wrong answers to show of each kind")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    demo = Demo(options.gguf)
    if options.logits:
        write_logits(demo, options.logits)
        return
    check_pairs(demo, options.show)
    check_follow_ups(demo, options.show)
    check_tools(demo, options.show)


if __name__ == "__main__":
    main()
