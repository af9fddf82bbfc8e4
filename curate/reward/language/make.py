"""Makes profiles.gz and testdata/texts.jsonl from the Python package langdetect.

    pip install langdetect==1.0.9
    python make.py

profiles.gz: tab-separated lines, compressed. "lang" lines give a language's code and how many 1-, 2- and 3-grams it was counted from;
"excluded" is the punctuation of Latin-1; "kanji" lines are characters that stand for one another, for the first of them; every other line
is an n-gram with the languages that have it and how often, as index:count.

testdata/texts.jsonl: what langdetect says of each line of texts.txt, where it says the same with 20 seeds.
"""
import glob
import gzip
import json
import os

import langdetect
from langdetect.utils import messages
from langdetect.utils.ngram import NGram

HERE = os.path.dirname(os.path.abspath(__file__))


def profiles():
    files = sorted(glob.glob(os.path.join(langdetect.PROFILES_DIRECTORY, "*")), key=os.path.basename)
    grams, lines = {}, []
    for index, path in enumerate(files):
        profile = json.load(open(path, encoding="utf-8"))
        lines.append("\t".join(["lang", profile["name"], *map(str, profile["n_words"])]))
        for gram, count in profile["freq"].items():
            if 1 <= len(gram) <= 3:
                grams.setdefault(gram, []).append(f"{index}:{count}")
    lines.append("excluded\t" + messages.get_string("NGram.LATIN1_EXCLUDE"))
    lines += ["kanji\t" + "".join(some) for some in NGram.CJK_CLASS]
    lines += [gram + "\t" + " ".join(counts) for gram, counts in sorted(grams.items())]
    with open(os.path.join(HERE, "profiles.gz"), "wb") as out:
        out.write(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))


def texts():
    with open(os.path.join(HERE, "testdata/texts.jsonl"), "w", encoding="utf-8") as out:
        for line in open(os.path.join(HERE, "testdata/texts.txt"), encoding="utf-8"):
            text, said = line.rstrip("\n"), set()
            for seed in range(20):
                langdetect.DetectorFactory.seed = seed
                try:
                    said.add(langdetect.detect(text))
                except langdetect.LangDetectException:
                    said.add("")
            if len(said) == 1:
                out.write(json.dumps({"text": text, "language": said.pop()}, ensure_ascii=False) + "\n")
            else:
                print("left out:", text, said)


profiles()
texts()
