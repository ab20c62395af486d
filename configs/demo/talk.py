"""Random conversations in the small world, packed as trees: many conversations share one prompt.

A reply is learned as the model must write it (analysis, final), and then stands in the history as the program renders
it (final alone), so a conversation branches at every reply. A branch sees its ancestors only, at the positions it would
have on its own: training on the tree equals training on each conversation alone.
"""
import json
import random
import zlib

import harmony
import world
from world import WORLD

DRILLS = 0.15  # of the trees without functions only add and subtract
EXACT = 0.4  # of the questions are asked exactly as tests ask them
KINDS = ["plain", "sums", "drills", "calls", "results", "recitals"]  # of replies
VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ou", "ee", "ia", "io"]
ONSETS = ("b c d f g h j k l m n p r s t v w x y z b d g k l m n r s t br ch cl cr dr fl fr gl gr kr pl pr qu sh sk sl "
          "sp st str th tr wh").split()
CODAS = ["", "", "", "", "n", "r", "s", "l", "t", "m", "d", "k", "ck", "nd", "ng", "rt", "st", "sh", "th", "x", "y"]
ACCENTS = "éèüöäãøåíóñçşı"


class Prompt:
    """Tokens of the system and developer messages and what they say.

    gap is a number of positions to leave out after them, as if much had been said in between.
    """

    def __init__(self, tokens, effort, date, offered, gap):
        self.tokens, self.effort, self.date, self.offered, self.gap = tokens, effort, date, offered, gap


class Recital:
    """Random tokens in place of a prompt; a repetition of some of them can be told from its first `given` tokens."""

    def __init__(self, tokens, given):
        self.tokens, self.given = tokens, given


class Tree:
    """Nodes of tokens with a parent each, -1 being the prompt, which ends at position start - 1.

    learned are (index of the token that predicts, index of the predicted).
    """

    def __init__(self, tokenizer, start):
        self.tokenizer, self.start = tokenizer, start
        self.tokens, self.positions, self.nodes, self.learned = [], [], [], []
        self.parents, self.ends = [], []  # by node
        self.kinds = []  # of what a node teaches, None when nothing; by node

    def __len__(self):
        return len(self.tokens)

    def add(self, parent, text, kind=None, gap=0):
        """Appends a node below parent, after a gap in its positions; learned if it has a kind. Returns the node."""
        return self.add_ids(parent, self.tokenizer.encode(text), kind, 0, gap)

    def add_ids(self, parent, ids, kind, learn_from=0, gap=0):
        """The same of token ids, of which those from learn_from on are learned."""
        node, first = len(self.parents), len(self.tokens)
        position = gap + (self.start if parent < 0 else self.positions[self.ends[parent]] + 1)
        self.tokens += ids
        self.positions += range(position, position + len(ids))
        self.nodes += [node] * len(ids)
        if kind is not None:
            self.learned += [(first + i - 1 if i else self.ends[parent], first + i)
                             for i in range(learn_from, len(ids))]
        self.kinds.append(kind)
        self.parents.append(parent)
        self.ends.append(len(self.tokens) - 1)
        return node

    def cut(self, nodes):
        """Drops all nodes from the nodes-th on."""
        size = self.ends[nodes - 1] + 1 if nodes else 0
        del self.parents[nodes:], self.ends[nodes:], self.kinds[nodes:]
        del self.tokens[size:], self.positions[size:], self.nodes[size:]
        while self.learned and self.learned[-1][1] >= size:
            self.learned.pop()


def held_out(name):
    """Names never seen in training, to test copying with: one in sixteen, and those written down in world.json."""
    return zlib.crc32(name.lower().encode()) % 16 == 0 or name.lower() in HELD_OUT


HELD_OUT = {name.lower() for names in WORLD["tools"]["held out"].values() for name in names}


class Speaker:
    """Draws conversations; words are ordinary words that names and results may be made of.

    One that follows up leads longer conversations, most of them about what a question can follow up.
    """

    def __init__(self, tokenizer, seed, follows_up=False):
        self.tokenizer, self.rng = tokenizer, random.Random(seed)
        self.lengths, self.following = ((2, 3), 0.7) if follows_up else ((1, 1, 1, 1, 2, 2, 3), 0.5)
        self.tables = list(world.table_turns().values())
        self.starts = [turn for table in world.table_turns().values() for turn in table[0] if turn.follow and follows_up]
        self.talk = list(world.talk_turns().values())
        self.named = world.named_turns()
        self.words = sorted({word for topic, turn in world.all_turns() for text in (turn.answer, turn.ask[0])
                             for word in text.replace(",", " ").replace(".", " ").split() if word.isalpha()})
        self.pieces = [] if tokenizer is None else sorted(
            {token for token in tokenizer.tokens[256:tokenizer.first_special] if token.isascii() and token.isalpha()})

    def maybe(self, chance):
        return self.rng.random() < chance

    # Names that questions are about

    def word(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.5 or not self.pieces:
            word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
                           for _ in range(rng.choice((1, 2, 2, 3))))
            if self.maybe(0.04):
                at = rng.randrange(len(word))
                word = word[:at] + rng.choice(ACCENTS) + word[at + 1:]
        elif kind < 0.7:
            word = "".join(rng.choice(self.pieces) for _ in range(rng.choice((1, 1, 2))))[:12]
        elif kind < 0.82:
            word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9)))
        else:
            word = rng.choice(self.words)
        return word

    def name(self, title, familiar=()):
        """A made-up name, now and then one of the familiar; never one that is held out."""
        if familiar and self.maybe(0.2):
            return self.rng.choice(familiar)
        while True:
            parts = [self.word().lower() for _ in range(2 if self.maybe(0.2) else 1)]
            if title:
                parts = [part[:1].upper() + part[1:] for part in parts]
            name = " ".join(parts)
            if title and self.maybe(0.04):
                name += ", " + self.word().title()
            if not held_out(name):
                return name

    # Questions as people type them

    def phrase(self, asks, exact=EXACT):
        """One of the phrasings, or the canonical one; returns (question, whether it is lower-cased)."""
        if self.maybe(exact):
            return asks[0], False
        text, rng = self.rng.choice(asks), self.rng
        if self.maybe(0.35) and text[-1] in "?.":
            text = text[:-1]
        elif text[-1].isalpha() and self.maybe(0.35):
            text += rng.choice("!.")
        if self.maybe(0.06):
            text = rng.choice(["Please tell me: ", "Hello. ", "Hi! ", "Okay. ", "So, ", "A question: "]) + text
        if self.maybe(0.05):
            text = text.rstrip("?.!") + rng.choice([" please", ", please", ", please?", " please?", " now?"])
        return (text.lower(), True) if self.maybe(0.25) else (text, False)

    def ask(self, asks):
        return self.phrase(asks)[0]

    # One turn each: (world.Turn, question)

    def number(self):
        low, high = WORLD["arithmetic"]["numbers"]
        return self.rng.randint(low, high)

    def sum_or_difference(self):
        return world.arithmetic(self.rng.choice(("sum", "difference")), self.number(), self.number())

    def too_big(self):
        kind = self.rng.choice(("sum", "difference"))
        numbers = [self.rng.choice((self.rng.randint(21, 99), self.rng.randint(100, 9999))), self.rng.choice((self.number(), self.rng.randint(21, 999)))]
        self.rng.shuffle(numbers)
        other = WORLD["arithmetic"]["out of range"]
        asks = [world.fill(ask, {"a": numbers[0], "b": numbers[1]}) for ask in WORLD["arithmetic"][kind]["ask"]]
        return world.Turn(asks, other["analysis"], other["answer"])

    def unknown(self):
        other, rng = WORLD["unknown"], self.rng
        kind = rng.random()
        if kind < 0.4:
            country = rng.choice(other["capital"]["countries"]) if self.maybe(0.7) else self.name(True)
            asks = [ask.replace("{0}", country) for ask in WORLD["tables"]["countries"]["questions"][0]["ask"]]
            return world.Turn(asks, other["capital"]["analysis"], other["capital"]["answer"])
        if kind < 0.5:
            asks = [ask.replace("{x}", self.name(True)) for ask in WORLD["tools"]["weather"]["ask"]]
            return world.Turn(asks, other["no tool"]["analysis"], other["no tool"]["weather"])
        if kind < 0.6:
            text = " ".join(self.word() for _ in range(rng.randint(1, 4)))
            return world.Turn([text[:1].upper() + text[1:] + rng.choice(["", "?", "."])], other["analysis"], other["answer"])
        return world.Turn([rng.choice(other["asks"])], other["analysis"], other["answer"])

    def today(self, date):
        asked = WORLD["date"]
        return world.Turn(asked["ask"], asked["analysis"], asked["answer"].replace("{date}", date))

    def fresh(self, date):
        kind, rng = self.rng.random(), self.rng
        if self.maybe(0.06):
            return rng.choice(self.named)
        if self.starts and self.maybe(0.4):
            return rng.choice(self.starts)
        if kind < 0.40:
            return self.sum_or_difference()
        if kind < 0.68:
            questions = rng.choices(self.tables, [sum(map(len, table)) for table in self.tables])[0]
            return rng.choice(rng.choices(questions, list(map(len, questions)))[0])
        if kind < 0.90:
            turns = rng.choices(self.talk, [len(turns) for turns in self.talk])[0]
            return rng.choice(turns)
        if kind < 0.92:
            return self.today(date)
        return self.too_big() if self.maybe(0.25) else self.unknown()

    def follow_up(self, turn):
        """A question that only the turn before gives a meaning to, or None."""
        asks = WORLD["follow-ups"]
        if turn.follow == "capital":
            rows = [t for t in self.tables[0][0] if t is not turn]
            then = self.rng.choice(rows)
            country = WORLD["tables"]["countries"]["rows"][then.subject][0]
            return world.Turn([ask.replace("{0}", country) for ask in asks["capital"]], then.analysis, then.answer,
                              follow="capital", subject=then.subject)
        if turn.follow == "next":
            table = next(table[0] for table in self.tables if turn.answer in (t.answer for t in table[0]))
            then = table[(turn.subject + 1) % len(table)]
            return world.Turn(asks["next"], then.analysis, then.answer, follow="next", subject=then.subject)
        if turn.follow == "add" and turn.subject in range(21):
            kind, number = self.rng.choice((("add", "sum"), ("subtract", "difference"))), self.number()
            then = world.arithmetic(kind[1], turn.subject, number)
            return world.Turn([ask.replace("{b}", str(number)) for ask in asks[kind[0]]], then.analysis, then.answer,
                              follow="add", subject=then.subject)
        return None

    # Functions

    def function(self, kind, noun=""):
        """A declared function of a kind: (name, parameter, declaration)."""
        tool, rng = WORLD["tools"][kind], self.rng
        name = rng.choice(tool["functions"]).replace("{n}", noun)
        parameter = rng.choice(tool["parameters"])
        description = "" if self.maybe(0.1) else rng.choice(tool["descriptions"]).replace("{n}", noun)
        hint = rng.choice(tool["hints"]) if self.maybe(0.5) else ""
        parameters = [(hint, f"{parameter}: string,")]
        if self.maybe(0.15):
            parameters.append(("", rng.choice(['unit?: "celsius" | "fahrenheit",', 'unit?: "m" | "ft", // default: m',
                                               "days?: number[],", "language?: string,", "limit?: number,"])))
        return name, parameter, harmony.function(name, description, parameters)

    def offer(self):
        """The functions of one developer message: a list of (kind, noun, name, parameter) and the declarations."""
        rng = self.rng
        kinds = rng.choice([["weather"], ["define"], ["weather", "define"], ["weather", "define"], ["other"],
                            ["weather", "other"], ["define", "other"]])
        kinds = rng.sample(kinds, len(kinds))
        offered, declared = [], []
        for kind in kinds:
            noun = rng.choice(WORLD["tools"]["other"]["nouns"]) if self.maybe(0.7) else self.word()
            name, parameter, text = self.function(kind, noun)
            offered.append((kind, noun, name, parameter))
            declared.append(text)
        if self.maybe(0.1):
            declared.insert(rng.randrange(len(declared) + 1), harmony.function("now", "Tells the time."))
        return offered, declared

    def value(self):
        rng = self.rng
        return rng.choice([lambda: rng.randint(-20, 120), lambda: rng.randint(0, 40), lambda: rng.randint(0, 5000), lambda: round(rng.uniform(0, 40), 1),
                           self.words_in_a_row, self.words_in_a_row])()

    def words_in_a_row(self):
        rng = self.rng
        return " ".join(rng.choice(self.words).lower() if self.maybe(0.6) else self.word() for _ in range(rng.randint(1, 4)))

    def outcome(self):
        """What a function returns, and how the model says it: the value alone, or keys and values in order."""
        if self.maybe(0.2):
            text = self.words_in_a_row()
            if self.maybe(0.5):
                text += f" and {self.rng.randint(0, 40)} degrees" if self.maybe(0.5) else f", {self.rng.randint(0, 40)}"
            return text, text
        keys = self.rng.sample(["temperature", "condition", "wind", "sky", "unit", "result", "value", "definition",
                                "meaning", "answer", "error", "text", "m", "humidity", "description", "forecast",
                                self.word()], self.rng.choice((1, 1, 1, 2, 2, 3)))
        found = {key: self.value() for key in keys}
        separators = (",", ":") if self.maybe(0.7) else (", ", ": ")
        said = ", ".join(f"{key} {item}" for key, item in found.items()) if len(keys) > 1 else str(found[keys[0]])
        return json.dumps(found, ensure_ascii=False, separators=separators), said

    def use_function(self, tree, node, gap, effort, kind, noun, name, parameter):
        """A question, the call it needs and the result; returns the node after them and the turn that remains."""
        texts = WORLD["tools"]
        familiar = texts["familiar"]["words" if kind == "define" else "cities"]
        x = self.name(kind != "define" and self.maybe(0.9), familiar)
        question, lowered = self.phrase([world.fill(ask, {"x": "{x}", "n": noun}) for ask in texts[kind]["ask"]], 0.1)
        question = question.replace("{x}", x.lower() if lowered else x)
        x = x.lower() if lowered else x
        analysis = world.fill(texts["call analysis"][effort], {"f": name, "x": x})
        arguments = json.dumps({parameter: x}, ensure_ascii=False, separators=(",", ":"))
        asked = tree.add(node, harmony.user(question), gap=gap)
        tree.add(asked, harmony.call(analysis, name, arguments), "calls")
        raw, said = self.outcome()
        past = harmony.past_call(analysis if self.maybe(0.6) else "", name, arguments)
        asked = tree.add(asked, past + harmony.result(name, raw))
        answer = world.fill(texts[kind]["answer"], {"x": x, "r": said, "n": noun})
        return asked, world.Turn([question], texts["result analysis"], answer)

    # Conversations

    def converse(self, tree, prompt, room):
        """Adds one conversation of a few turns to the tree; returns whether it still fitted into room."""
        node, before, gap = -1, None, prompt.gap
        for _ in range(self.rng.choice(self.lengths)):
            nodes = len(tree.parents)
            if before:  # the reply as history: without its analysis
                node = tree.add(node, f"<|channel|>final<|message|>{before.answer}<|end|>")
            kind = "plain"
            if prompt.offered and self.maybe(0.75):
                kind = "results"
                node, before = self.use_function(tree, node, gap, prompt.effort, *self.rng.choice(prompt.offered))
            else:
                before = before and self.maybe(self.following) and self.follow_up(before) or self.fresh(prompt.date)
                kind = "sums" if before.follow == "add" else "plain"
                node = tree.add(node, harmony.user(self.ask(before.ask)), gap=gap)
            tree.add(node, harmony.reply(before.analysis[prompt.effort], before.answer), kind)
            gap = 0
            if len(tree) > room:
                tree.cut(nodes)
                return False
        return True

    def date(self):
        return f"{self.rng.randint(2024, 2035)}-{self.rng.randint(1, 12):02}-{self.rng.randint(1, 28):02}"

    def prompt(self, tools):
        """What stands before the first question, with functions offered or without."""
        effort, date = self.rng.choice((0, 1, 1, 2)), self.date()
        offered, declared = self.offer() if tools else ([], [])
        instructions = self.rng.choice(WORLD["instructions"]) if self.maybe(0.25) else ""
        if instructions and self.maybe(0.3):
            instructions += " " + self.rng.choice(WORLD["instructions"])
        text = harmony.system(date, harmony.EFFORTS[effort], tools) + harmony.developer(instructions, declared)
        gap = self.rng.randint(1, 3000) if self.maybe(0.15) else 0
        return Prompt(self.tokenizer.encode(text), effort, date, offered, gap)

    def recital(self):
        """A prompt of random tokens, for trees that repeat spans of it; few different ones make it hard."""
        rng, few = self.rng, self.maybe(0.5)
        choice = [rng.randrange(self.tokenizer.first_special) for _ in range(rng.randint(8, 30) if few else 400)]
        return Recital([rng.choice(choice) for _ in range(rng.randint(40, 160))], 3 if few else 1)

    def recite(self, prompt, room):
        """A tree of branches that repeat what the prompt says somewhere; what follows its start is learned."""
        tree, rng = Tree(self.tokenizer, len(prompt.tokens)), self.rng
        while len(tree) < room - 32:
            node, gap = -1, rng.choice((0, 0, rng.randint(1, 400)))
            for _ in range(rng.randint(1, 3)):
                first = rng.randrange(len(prompt.tokens) - 8)
                ids = prompt.tokens[first:first + rng.randint(6, 20)]
                node, gap = tree.add_ids(node, ids, "recitals", prompt.given, gap), 0
        return tree

    def drill(self, prompt, room):
        """A tree of sums and differences alone, as they stand in the reasoning."""
        tree = Tree(self.tokenizer, len(prompt.tokens))
        while len(tree) < room - 6:
            task, equals, result = self.sum_or_difference().analysis[0].partition("=")
            tree.add(tree.add(-1, task), equals + result, "drills")
        return tree

    def tree(self, prompt, room):
        """A tree of at most room tokens that goes on from a prompt."""
        if isinstance(prompt, Recital):
            return self.recite(prompt, room)
        if not prompt.offered and self.maybe(DRILLS):
            return self.drill(prompt, room)
        tree, misses = Tree(self.tokenizer, len(prompt.tokens)), 0
        while misses < 2:
            misses += not self.converse(tree, prompt, room)
        return tree
