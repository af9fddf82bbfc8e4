"""What people write by hand: the openai package, asyncio, a semaphore, and a file of answers that a second start goes on from.

Retries are the package's own, eight of them, which heed Retry-After; whatever else is raised is tried twice more.
"""
import asyncio
import json
import os

from openai import AsyncOpenAI

from peer_distill import MAX_TOKENS, MODEL, TEMPERATURE, flags, read_prompts


def answered(path):
    prompts = set()
    if os.path.exists(path):
        with open(path) as f:
            for line in f:
                try:
                    prompts.add(json.loads(line)["prompt"])
                except ValueError:
                    pass  # the line at which the process was killed
    return prompts


async def main():
    a = flags()
    path = os.path.join(a.work, "rows.jsonl")
    there = answered(path)
    client = AsyncOpenAI(base_url=a.url, api_key="none", max_retries=8, timeout=a.timeout)
    turn = asyncio.Semaphore(a.at_once)
    with open(path, "a") as out:

        async def ask(prompt):
            async with turn:
                for tries in range(3):
                    try:
                        r = await client.chat.completions.create(
                            model=MODEL, messages=[{"role": "user", "content": prompt}], temperature=TEMPERATURE, max_tokens=MAX_TOKENS)
                        text = r.choices[0].message.content
                        if not text:
                            raise ValueError("an answer without text")
                    except Exception as e:
                        print("try", tries + 1, repr(e)[:200], flush=True)
                        continue
                    out.write(json.dumps({"prompt": prompt, "answer": text}) + "\n")
                    out.flush()
                    return

        await asyncio.gather(*(ask(p) for p in read_prompts(a) if p not in there))


asyncio.run(main())
