"""The Harmony text of a conversation, as gptoss-dist renders it."""

SPECIALS = ["<|startoftext|>", "<|endoftext|>", "<|reserved_2|>", "<|reserved_3|>", "<|return|>", "<|constrain|>",
            "<|reserved_6|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|reserved_11|>",
            "<|reserved_12|>", "<|reserved_13|>", "<|call|>", "<|reserved_15|>", "<|reserved_16|>", "<|reserved_17|>",
            "<|endofprompt|>"]  # in o200k_harmony's order
EFFORTS = ["low", "medium", "high"]


def message(role, content):
    return f"<|start|>{role}<|message|>{content}<|end|>"


def system(date, effort, tools=False):
    text = ("You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
            f"Current date: {date}\n\nReasoning: {effort}\n\n"
            "# Valid channels: analysis, commentary, final. Channel must be included for every message.")
    if tools:
        text += "\nCalls to these tools must go to the commentary channel: 'functions'."
    return message("system", text)


def function(name, description="", parameters=()):
    """One declaration; parameters are (hint, declaration) such as ("Name of the city", "city: string")."""
    text = f"// {description}\n" if description else ""
    if not parameters:
        return text + f"type {name} = () => any;\n\n"
    text += f"type {name} = (_: {{\n"
    for hint, declaration in parameters:
        text += (f"// {hint}\n" if hint else "") + declaration + "\n"
    return text + "}) => any;\n\n"


def developer(instructions="", functions=()):
    """The developer message, or nothing when there is nothing to say."""
    parts = [f"# Instructions\n\n{instructions}"] if instructions else []
    if functions:
        parts.append("# Tools\n\n## functions\n\nnamespace functions {\n\n" + "".join(functions)
                     + "} // namespace functions")
    return message("developer", "\n\n".join(parts)) if parts else ""


def user(question):
    return message("user", question) + "<|start|>assistant"


def reply(analysis, answer):
    """What the model writes after <|start|>assistant when it answers."""
    return (f"<|channel|>analysis<|message|>{analysis}<|end|><|start|>assistant"
            f"<|channel|>final<|message|>{answer}<|return|>")


def call(analysis, name, arguments):
    """What the model writes after <|start|>assistant when it calls a function."""
    return (f"<|channel|>analysis<|message|>{analysis}<|end|><|start|>assistant<|channel|>commentary "
            f"to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>")


def past_call(analysis, name, arguments):
    """The same call as history, after <|start|>assistant; analysis may be empty."""
    thought = f"<|channel|>analysis<|message|>{analysis}<|end|><|start|>assistant" if analysis else ""
    return f"{thought} to=functions.{name}<|channel|>commentary <|constrain|>json<|message|>{arguments}<|call|>"


def result(name, content):
    return (f"<|start|>functions.{name} to=assistant<|channel|>commentary<|message|>{content}<|end|>"
            "<|start|>assistant")
