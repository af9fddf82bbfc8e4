import json
import os
import sys


def run():
    given = json.load(sys.stdin.buffer)
    token, program, tests = (given.pop(k) for k in ("token", "program", "tests"))
    say, end, write, out = f"{token} passed".encode(), os._exit, os.write, os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        tests = compile(tests, "tests.py", "exec")
    except (SyntaxError, ValueError) as e:
        write(out, f"{token} broken {e}".encode("utf-8", "replace"))
        end(0)
    del token, given
    names = {"__name__": "answer", "__builtins__": __builtins__}
    exec(compile(program, "answer.py", "exec"), names)
    exec(tests, names)
    write(out, say)
    end(0)


run()
