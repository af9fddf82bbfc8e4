"""What the peers of make bench-distill share: the flags that cmd/benchdistill gives, and the file in which it finds their answers."""
import argparse
import json
import os

MODEL, TEMPERATURE, MAX_TOKENS = "mock-teacher", 0.8, 1024


def flags():
    p = argparse.ArgumentParser()
    p.add_argument("--prompts", required=True, help="JSON lines with prompt")
    p.add_argument("--url", required=True, help="the teacher's base URL, which ends in /v1")
    p.add_argument("--at-once", type=int, required=True, help="requests at a time")
    p.add_argument("--work", required=True, help="a folder for caches and rows.jsonl, kept when the engine is killed and started again")
    p.add_argument("--timeout", type=float, default=120, help="seconds a request may take")
    return p.parse_args()


def read_prompts(a):
    with open(a.prompts) as f:
        return [json.loads(line)["prompt"] for line in f]


def write_rows(a, rows):
    """rows are pairs of a prompt and its answer."""
    with open(os.path.join(a.work, "rows.jsonl"), "w") as f:
        for prompt, answer in rows:
            f.write(json.dumps({"prompt": prompt, "answer": answer}) + "\n")
