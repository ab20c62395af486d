"""The small world of world.json: its questions, answers and reasoning. Run alone it writes pairs.json for tests."""
import json
import pathlib
import re

import harmony

HERE = pathlib.Path(__file__).parent
WORLD = json.loads((HERE / "world.json").read_text())


class Turn:
    """A question in several phrasings (the first is canonical), its analysis by effort and its one answer.

    follow names the follow-up that makes sense next ("capital", "next", "add") and subject what it is about.
    """

    def __init__(self, ask, analysis, answer, follow=None, subject=None):
        self.ask, self.analysis, self.answer, self.follow, self.subject = ask, analysis, answer, follow, subject


def fill(template, columns):
    """Replaces {name} by columns[name]; a sentence starts with a capital letter again afterwards."""
    text = re.sub(r"\{(\w+)\}", lambda match: str(columns[match[1]]), template)
    return text[:1].upper() + text[1:] if template.startswith("{") else text


def from_template(template, columns, **more):
    return Turn([fill(ask, columns) for ask in template["ask"]], [fill(a, columns) for a in template["analysis"]],
                fill(template["answer"], columns), **more)


def arithmetic(kind, a, b):
    c = a + b if kind == "sum" else a - b
    return from_template(WORLD["arithmetic"][kind], {"a": a, "b": b, "c": c}, follow="add", subject=c)


def table_turns():
    """Turns by table, then by question, then by row."""
    tables = {}
    for name, table in WORLD["tables"].items():
        tables[name] = []
        for number, question in enumerate(table["questions"]):
            follow = {"countries": "capital", "days": "next", "months": "next", "letters": "next"}.get(name)
            follow = follow if number == 0 else None
            tables[name].append([from_template(question, {str(i): cell for i, cell in enumerate(row)}, follow=follow,
                                               subject=index) for index, row in enumerate(table["rows"])])
    return tables


def talk_turns():
    return {topic: [Turn(pair["ask"], talk["analysis"], pair["answer"]) for pair in talk["pairs"]]
            for topic, talk in WORLD["talk"].items()}


def all_turns():
    """Every question-answer pair of the world once, in order: (topic, Turn)."""
    low, high = WORLD["arithmetic"]["numbers"]
    numbers = range(low, high + 1)
    return ([(topic, turn) for topic, turns in talk_turns().items() for turn in turns]
            + [(topic, turn) for topic, questions in table_turns().items() for turns in questions for turn in turns]
            + [(kind, arithmetic(kind, a, b)) for kind in ("sum", "difference") for a in numbers for b in numbers])


def named_turns():
    named = set(WORLD["named"])
    return [turn for _, turn in all_turns() if turn.ask[0] in named]


def pairs():
    """What tests ask: every pair with its canonical phrasing; named ones must always be right."""
    named = set(WORLD["named"])
    found = [{"topic": topic, "prompt": turn.ask[0], "answer": turn.answer, "named": turn.ask[0] in named}
             for topic, turn in all_turns()]
    missing = named - {pair["prompt"] for pair in found}
    if missing:
        raise SystemExit(f"world.json names prompts that no pair has: {sorted(missing)}")
    return found


def strings(item):
    """Every string inside a JSON value."""
    if isinstance(item, str):
        yield item
    elif isinstance(item, (list, dict)):
        for inner in item.values() if isinstance(item, dict) else item:
            yield from strings(inner)


def texts():
    """What the vocabulary is learned from: every pair in all phrasings, also in lower case, and the other messages."""
    found = [text for topic, turn in all_turns() for text in [*turn.ask, *turn.analysis, turn.answer]
             if topic not in ("sum", "difference")]
    others = {key: WORLD[key] for key in ("arithmetic", "follow-ups", "date", "unknown", "instructions")}
    tools = {key: item for key, item in WORLD["tools"].items() if key not in ("familiar", "held out")}
    found += [re.sub(r"\{\w+\}", "", text) for text in strings([others] * 4 + [tools] * 8)]
    found += ["=-"] * 100  # one token, so that the sign of a difference is decided next to its numbers
    names = tools["weather"]["functions"] + tools["define"]["functions"]
    frame = [harmony.system("", effort, tools=True) + harmony.developer(
        " ", [harmony.function(name, "", [("", "city: string,"), ("", 'unit?: "celsius" | "fahrenheit",')])])
        + harmony.call("", name, '{"city":"Oslo"}') + harmony.result(name, '{"condition":"sunny", "wind": 3}')
        for name in names for effort in harmony.EFFORTS]
    found += [part for text in frame for part in re.split(r"<\|\w+\|>", text)]
    return found + [text.lower() for text in found]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs())
    (HERE / "pairs.json").write_text(f"[\n{lines}\n]\n")
