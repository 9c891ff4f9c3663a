"""Writes chunking.json: the answers of langchain-text-splitters 0.3.11.

    python3 -m venv venv && venv/bin/pip install langchain-text-splitters==0.3.11
    venv/bin/python make_chunking.py [cases] [seed] > chunking.json

The same arguments give the same file.
"""

import importlib.metadata
import json
import logging
import random
import sys
import warnings

from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

assert importlib.metadata.version("langchain-text-splitters") == "0.3.11"
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

DEFAULT = ["\n\n", "\n", ".", "?", "!", " ", ""]

WORDS = (
    "the quick brown fox jumps over lazy dogs and Ünïcode naïve café ß İstanbul "
    "文章 数据库 向量 日本語 한국어 हिन्दी ไทย 👩‍👩‍👧‍👦 🇩🇪 🙂 e\u0301 \u200d a1 42 3.14 x² Ⅷ _id foo-bar a&b [x] {y} (z) "
    "aaaa bbbb https://example.org/a?b=c#d don't <tag> ~~ ^ $5 \\ \\n"
).split(" ")

GLUE = [
    " ", " ", " ", " ", "  ", "\n", "\n\n", "\n\n\n", ". ", ".", "! ", "? ", "。", ", ", "\t", "\r\n", "\x0b",
    "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028", "\u3000", "\u200b", "\ufeff", "", "-", "\n# ", "\n## ",
]

LITERALS = ["\n\n", "\n", ".", "?", "!", " ", "", ", ", "。", "aa", "\n# ", "a", "$", "|", "(", "\\", "é", "🙂", "zzz", "\t"]

REGEXES = [
    r"\s+", r"\n+", r"\n\s*\n", r"(?<=[.!?])\s+", r"(?<=\.)", r"(?=\n#)", r"(?=\n#+ )", r"(?<! ) ", r"(?! )\s",
    r"[.。!?]", r"\d+", r"\d*", r"x*", r"a*", r"|a", r"(?:|a|ab)", r"\b", r"\B", r"$", r"^", r"\Z", r"\A", r"(?m:^)",
    r"(?m:$)", r"(?:\n|$)", r"(?i:THE|fox)", r"(?i:é)", r"\w+", r"\W+", r"\w*", r"[\w-]+", r"[^\W\d]+", r"[\s]",
    r"[^\s]", r"[^\S\n]+", r"[\S]", r"[[\]]", r"[]x[]", r"[^]x[]", r"[a&&b]", r"[+--]", r"[a~~b]", r"[a-f]", r"[\x00-\x1f]",
    r"\x20", r"\u3000", r"\012", r"[\012\040]", r"a{2}", r"a{,2}", r"a{1,}", r"a{", r"{y}", r"a{x}", r"\<", r"\>", r"<|>",
    r"\.", r"\ ", r"\-", r"[\-\]\^\\]", r"[^a-z]", r".", r"(?s:.)", r"a.", r"a+?", r"a*?b", r"(?:a|b)*", r"\$", r"\|",
    "(?x: a  # the letter [($\n )", r"(?#[ comment $)o", r"(?=[A-Z])", r"(?<=\w)(?=\W)", r"(?<=[a-z])(?=[A-Z])", r"e\u0301",
    r"[\u4e00-\u9fa5]", r"[\x61-\x63]", r"[\U0001f1e6-\U0001f1ff]", r"[一-龥]", r"\D", r"[\d\s]+", r"[^\w\s]", "\n", " ", "文", "[.]\\s", r"\t|\r\n?|\n",
]


def text(r, words):
    parts = []
    for _ in range(words):
        parts.append(r.choice(WORDS))
        parts.append(r.choice(GLUE))
    return "".join(parts)


def texts(r):
    kind = r.random()
    if kind < 0.02:
        return ""
    if kind < 0.07:
        return "".join(r.choice(GLUE) for _ in range(r.randint(1, 30)))
    if kind < 0.12:
        return r.choice(["a", "文", "🙂", "x "]) * r.randint(1, 60)
    if kind < 0.2:
        return "".join(r.choice("ab .\n") for _ in range(r.randint(1, 60)))
    return text(r, r.choice([1, 2, 3, 5, 10, 20, 40]))


def sizes(r):
    size = r.choice([1, 2, 3, 4, 5, 7, 10, 15, 20, 33, 50, 100, 800])
    overlap = r.choice([0, 0, 1, 2, size // 4, size // 2, size - 1])
    return size, min(overlap, size - 1)


def case(r):
    size, overlap = sizes(r)
    regex = r.random() < 0.45
    options = dict(chunk_size=size, chunk_overlap=overlap, is_separator_regex=regex)
    pool = REGEXES if regex else LITERALS
    if r.random() < 0.4:
        options = dict(splitter="character", separator=r.choice(pool), **options)
    elif r.random() < 0.3:
        options = dict(splitter="recursive", separators=DEFAULT, **{**options, "is_separator_regex": False})
    else:
        separators = r.sample(pool, r.randint(1, 5)) + ([""] if r.random() < 0.5 else [])
        options = dict(splitter="recursive", separators=separators, **options)
    return answer(options, texts(r))


def answer(options, subject):
    arguments = {key: value for key, value in options.items() if key != "splitter"}
    if options["splitter"] == "character":
        splitter = CharacterTextSplitter(**arguments)
    else:
        splitter = RecursiveCharacterTextSplitter(**arguments)
    return {**options, "text": subject, "chunks": splitter.split_text(subject)}


def documented():
    yield answer(
        dict(splitter="recursive", separators=DEFAULT, chunk_size=20, chunk_overlap=5, is_separator_regex=False),
        "Hello world. This is a test! Is it? Yes it is.\n\nNew paragraph here",
    )
    yield answer(
        dict(splitter="character", separator="\n\n", chunk_size=10, chunk_overlap=2, is_separator_regex=False),
        "aaaa bbbb cccc dddd\n\nee\n\nff",
    )
    yield answer(
        dict(splitter="recursive", separators=DEFAULT, chunk_size=800, chunk_overlap=400, is_separator_regex=False),
        "   ",
    )


def main():
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    r = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    answers = list(documented())
    # Each regular expression alone: cut small, and cut but joined again, before a final line feed.
    for expression in REGEXES:
        options = dict(chunk_size=6, chunk_overlap=2, is_separator_regex=True)
        answers.append(answer(dict(splitter="character", separator=expression, **options), text(r, 12)))
        answers.append(answer(dict(splitter="recursive", separators=[expression], **options), text(r, 12)))
        options = dict(chunk_size=200, chunk_overlap=0, is_separator_regex=True)
        answers.append(answer(dict(splitter="character", separator=expression, **options), text(r, 8) + "\nend\n"))
    answers.extend(case(r) for _ in range(cases))
    print("[")
    print(",\n".join(json.dumps(item, ensure_ascii=True) for item in answers))
    print("]")


main()
