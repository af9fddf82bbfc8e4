"""A reward of the Python package math-verify (pip install math-verify), for the reward `command`:

    curate:
      rewards:
        - command: {command: [python3, examples/rewards/mathverify.py], concurrency: 2, timeout: 30}

It reads one JSON object a line and answers each with one line. Whatever a library prints goes to standard error, so that the
answers alone are on standard output. The first row of each program waits for the imports: hence the timeout.
"""

import json
import sys

answers, sys.stdout = sys.stdout, sys.stderr

from math_verify import parse, verify  # noqa: E402


def reward(completion, reference):
    gold = parse(f"${reference}$")
    given = parse(completion)
    if not gold or not given:
        return {"verdict": "unparsable", "evidence": f"read {given} from the answer, {gold} from the reference"}
    return {"score": verify(gold, given), "evidence": f"read {given[-1]}, reference {gold[-1]}"}


for line in sys.stdin:
    row = json.loads(line)
    try:
        said = reward(row["completion"], row["reference"] or "")
    except Exception as e:  # one row's trouble is not the next one's
        said = {"verdict": "error", "evidence": repr(e)}
    print(json.dumps({"id": row["id"], **said}), file=answers, flush=True)
