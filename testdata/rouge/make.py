"""Writes golden.jsonl: pairs of texts and what rouge-score 0.1.2 says of them (rougeL, no stemmer)."""

import json
import random

from rouge_score import rouge_scorer, tokenize

random.seed(7)
scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
words = "write a poem about the sea Explain how rain forms to child list 3 ways of saving water Translate sentence into French".split()

pairs = [
    ("", ""), ("", "a"), ("a", ""), ("...", "!"), ("a", "a"), ("A", "a"), ("a b c", "c b a"),
    ("It's 2.50, isn't it?", "it s 2 50 isn t it"), ("snake_case and-dash", "snake case and dash"),
    ("naïve café", "na ve caf"), ("Straße", "stra e"), ("İstanbul", "i stanbul"), ("\u212aelvin", "kelvin"),
    ("写一首诗", "写一首诗"), ("１２３ full width", "123 full width"), ("tab\tand\nnewline", "tab and newline"),
    ("a b a b a b", "b a b a"), ("the cat sat on the mat", "the cat lay on a mat"), ("\u00a0x\u2003y", "x y"),
    (" ".join(["w%d" % i for i in range(200)]), " ".join(["w%d" % i for i in range(0, 400, 2)])),
]
for _ in range(120):
    a = [random.choice(words) for _ in range(random.randint(1, 30))]
    b = list(a)
    for _ in range(random.randint(0, 12)):
        at = random.randrange(len(b) + 1)
        kind = random.random()
        if kind < 0.4 and b:
            del b[min(at, len(b) - 1)]
        elif kind < 0.7:
            b.insert(at, random.choice(words))
        else:
            random.shuffle(b)
    pairs.append((" ".join(a), ", ".join(b) + "."))
for _ in range(40):  # longer than a machine word of tokens
    a = [random.choice("abcdefgh") for _ in range(random.randint(60, 200))]
    b = [random.choice("abcdefgh") for _ in range(random.randint(60, 200))]
    pairs.append((" ".join(a), " ".join(b)))

with open("golden.jsonl", "w") as out:
    for a, b in pairs:
        s = scorer.score(a, b)["rougeL"]
        tokens = tokenize.tokenize(a, None)
        row = {"target": a, "prediction": b, "tokens": tokens, "precision": s.precision, "recall": s.recall, "f": s.fmeasure}
        out.write(json.dumps(row, ensure_ascii=True) + "\n")
