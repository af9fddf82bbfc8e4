"""How fast transformers or llama.cpp generates with SmolLM2-135M on this CPU: one line of JSON a measurement.

    python bench/peer_generate.py --engine transformers --model DIR
    python bench/peer_generate.py --engine llama.cpp --model FILE.gguf

Greedy, always --new tokens whether the model would end or not, with the chat template. tok_s counts the whole call,
decode_tok_s leaves out the time to the first token. cpu_s is processor time of all threads, for the same tokens as tok_s.
"""
import argparse
import json
import os
import time

QUESTIONS = ["Give me an 1-sentence introduction of LLM.", "Calculate 1+1-1", "What's the difference between thread and process?"]
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"


def clock(run):
    wall, cpu = time.perf_counter(), time.process_time()
    out = run()
    return time.perf_counter() - wall, time.process_time() - cpu, out


def say(**line):
    print(json.dumps(line), flush=True)


def transformers(a):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(a.threads)
    tok = AutoTokenizer.from_pretrained(a.model)
    tok.padding_side = "left"
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()

    def encode(questions):
        return tok.apply_chat_template([[{"role": "user", "content": q}] for q in questions], add_generation_prompt=True, tokenize=True,
                                       return_dict=True, return_tensors="pt", padding=True)

    def generate(inputs, new):
        return model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=2)

    generate(encode(QUESTIONS[:1]), 4)
    for what, groups in (("one-by-one", [[q] for q in QUESTIONS]), ("batch-8", [(QUESTIONS * 3)[:8]])):
        whole = cpu = first = tokens = 0
        for inputs in map(encode, groups):
            first += clock(lambda: generate(inputs, 1))[0]
            wall, busy, _ = clock(lambda: generate(inputs, a.new))
            whole, cpu, tokens = whole + wall, cpu + busy, tokens + a.new * len(inputs["input_ids"])
        say(engine="transformers", dtype="f32", what=what, tok_s=tokens / whole, decode_tok_s=tokens * (1 - 1 / a.new) / (whole - first), cpu_s=cpu, tokens=tokens)
    ids = torch.tensor([[3 + i * 7919 % 49149 for i in range(512)]])
    with torch.no_grad():
        wall, cpu, _ = clock(lambda: model(input_ids=ids, logits_to_keep=1))
    say(engine="transformers", dtype="f32", what="prefill-512", tok_s=512 / wall, cpu_s=cpu, tokens=512)
    with open(a.rows) as f:
        rows = [torch.tensor([tok.encode(r["question"] + "\n" + r["answer"])]) for r in map(json.loads, f)]
    tokens = sum(r.shape[1] for r in rows)
    with torch.no_grad():
        wall, cpu, losses = clock(lambda: [model(input_ids=r, labels=r).loss.item() for r in rows])
    mean = sum(loss * (r.shape[1] - 1) for loss, r in zip(losses, rows)) / (tokens - len(rows))
    say(engine="transformers", dtype="f32", what="nll", tok_s=tokens / wall, cpu_s=cpu, tokens=tokens, loss=mean)


def llama(a):
    import xllamacpp

    c = xllamacpp.CommonParams()
    c.model.path = a.model
    c.n_ctx, c.n_parallel, c.cpuparams.n_threads, c.cpuparams_batch.n_threads, c.verbosity, c.cache_ram_mib = 2048, 1, a.threads, a.threads, -1, 0
    server = xllamacpp.Server(c)

    def complete(prompt, new):
        r = server.handle_completions({"prompt": prompt, "max_tokens": new, "n_predict": new, "temperature": 0, "ignore_eos": True, "cache_prompt": False})
        return (json.loads(r) if isinstance(r, (str, bytes)) else r)["timings"]

    complete("hi", 4)
    prompt_ms = decode_ms = decoded = tokens = cpu = 0
    for q in QUESTIONS:
        _, busy, t = clock(lambda: complete(f"{SYSTEM}<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n", a.new))
        cpu, prompt_ms, decode_ms, decoded, tokens = cpu + busy, prompt_ms + t["prompt_ms"], decode_ms + t["predicted_ms"], decoded + t["predicted_n"], tokens + a.new
    say(engine="llama.cpp", dtype=a.dtype, what="one-by-one", tok_s=tokens / (prompt_ms + decode_ms) * 1e3, decode_tok_s=decoded / decode_ms * 1e3, cpu_s=cpu, tokens=tokens)
    _, cpu, t = clock(lambda: complete("word " * 511, 1))
    say(engine="llama.cpp", dtype=a.dtype, what="prefill-512", tok_s=t["prompt_n"] / t["prompt_ms"] * 1e3, cpu_s=cpu, tokens=t["prompt_n"])


p = argparse.ArgumentParser()
p.add_argument("--engine", choices=["transformers", "llama.cpp"], required=True)
p.add_argument("--model", required=True)
p.add_argument("--dtype", default="f32")
p.add_argument("--threads", type=int, default=2)
p.add_argument("--rows", help="JSON lines with question and answer, whose mean loss transformers computes")
p.add_argument("--new", type=int, default=100)
args = p.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
(transformers if args.engine == "transformers" else llama)(args)
