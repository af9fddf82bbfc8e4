"""A reward for tests: does what the completion says, and remembers that it was alive."""
import json
import os
import sys
import time

rows = 0
for line in sys.stdin:
    row = json.loads(line)
    rows += 1
    does, _, text = row["completion"].partition(" ")
    answer = {"id": row["id"], "score": 1.0, "evidence": f"row {rows}"}
    if does == "exact":
        answer["score"] = row["reference"] == text
    elif does == "say":
        answer = {"id": row["id"], **json.loads(text)}
    elif does == "die":
        print("no more of this", file=sys.stderr)
        os._exit(3)
    elif does == "hang":
        if text:
            with open(text, "w") as f:
                f.write("here")
        if os.fork() == 0:
            time.sleep(3600)
        while True:
            pass
    elif does == "garbage":
        print("Warning: \x00 this is no JSON")
    elif does == "huge":
        sys.stdout.write("x" * 10_000_000)
    elif does == "endless":
        while True:
            print("x" * 65536, end="")
    elif does == "half":
        sys.stdout.write('{"id": ')
        sys.stdout.flush()
        os._exit(0)
    elif does == "twice":
        print(json.dumps(answer))
    elif does == "other":
        answer["id"] = "somebody"
    print(json.dumps(answer), flush=True)
    if does == "once":
        sys.exit(0)
