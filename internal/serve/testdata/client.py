"""What the openai client expects of a server. Usage: client.py BASE_URL MODEL"""

import asyncio
import sys

import openai

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=url, max_retries=0)
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2+2?"}]


def ask(**more):
    return client.chat.completions.create(**{"model": model, "messages": messages, "max_tokens": 24, "seed": 1, **more})


def refused(kind, **more):
    try:
        ask(**more)
    except kind as e:
        return e
    raise AssertionError(f"{more} was answered")


assert [m.id for m in client.models.list()] == [model]
assert client.models.retrieve(model).owned_by == "stillhouse"

whole = ask(n=3)
assert len(whole.choices) == 3 and [c.index for c in whole.choices] == [0, 1, 2]
assert len({c.message.content for c in whole.choices}) > 1
assert all(c.message.role == "assistant" and c.finish_reason in ("stop", "length") for c in whole.choices)
assert whole.usage.prompt_tokens > 10 and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert whole.choices[0].logprobs is None

texts = [c.message.content for c in whole.choices]
assert [c.message.content for c in ask(n=3).choices] == texts
assert ask().choices[0].message.content == texts[0]
assert [ask(seed=1 + i).choices[0].message.content for i in range(3)] == texts  # choice i has the seed + i
assert ask(max_tokens=openai.NOT_GIVEN, max_completion_tokens=24).choices[0].message.content == texts[0]
assert ask(temperature=0).choices[0].message.content == ask(temperature=0, seed=9).choices[0].message.content

pieces, reasons, usage = ["", "", ""], [None] * 3, None
for chunk in ask(n=3, stream=True, stream_options={"include_usage": True}):
    for c in chunk.choices:
        pieces[c.index] += c.delta.content or ""
        reasons[c.index] = c.finish_reason or reasons[c.index]
    usage = chunk.usage
assert pieces == texts, (pieces, texts)
assert reasons == [c.finish_reason for c in whole.choices]
assert usage == whole.usage, (usage, whole.usage)

with client.chat.completions.stream(model=model, messages=messages, max_tokens=24, seed=1) as stream:
    assert "".join(e.delta for e in stream if e.type == "content.delta") == texts[0]

stop = texts[0][3:6]
cut = ask(stop=[stop]).choices[0]
assert cut.finish_reason == "stop" and cut.message.content == texts[0][: texts[0].index(stop)]

logged = ask(logprobs=True, temperature=0).choices[0]
assert all(t.logprob <= 0 for t in logged.logprobs.content) and len(logged.logprobs.content) > 0
with client.chat.completions.stream(model=model, messages=messages, max_tokens=24, seed=1, temperature=0, logprobs=True) as stream:
    for event in stream:
        pass
    assert stream.current_completion_snapshot.choices[0].logprobs.content == logged.logprobs.content

assert refused(openai.NotFoundError, model="other").code == "model_not_found"
assert refused(openai.BadRequestError, max_tokens=100000).code == "context_length_exceeded"
assert refused(openai.BadRequestError, n=0).param == "n"
assert refused(openai.BadRequestError, frequency_penalty=1).param == "frequency_penalty"


async def together():
    many = openai.AsyncOpenAI(base_url=url, max_retries=0)
    answers = await asyncio.gather(
        *(many.chat.completions.create(model=model, messages=messages, max_tokens=24, seed=1, n=1 + i % 3) for i in range(12))
    )
    for a in answers:
        assert [c.message.content for c in a.choices] == texts[: len(a.choices)]
    await many.close()


asyncio.run(together())
print("ok")
