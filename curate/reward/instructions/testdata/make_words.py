"""Makes words.jsonl: sentences, and how many of their words NLTK's tokenizer leaves in capitals.

    pip install nltk==3.10.4
    python make_words.py
"""
import json
import os
import random

from nltk.tokenize import NLTKWordTokenizer

PARTS = """NASA's U.S. U.K. 'TIS CAN'T CANNOT (ABC) "XYZ" A,B A, C: D--E F... G?! H*I [J] K. don't L' 'M 'N' R2D2 O'NEIL ``Q <P> S/T U&V —W 3,000 X@Y Z;
I'LL WE'VE DON'T it's It'S WANNA GIMME “HI” A.B C.D. 'AB AB'S d'YE D'YE MORE'N GONNA **BOLD** A:B (C.) E.) N.A.S.A.""".split()

random.seed(1)
sentences = PARTS + [" ".join(random.choices(PARTS, k=random.randint(1, 4))) + random.choice(["", ".", "!", "?", '."', ".'"]) for _ in range(400)]
tokenizer = NLTKWordTokenizer()
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "words.jsonl"), "w", encoding="utf-8") as out:
    for s in sentences:
        out.write(json.dumps({"sentence": s, "capitals": sum(w.isupper() for w in tokenizer.tokenize(s))}, ensure_ascii=False) + "\n")
