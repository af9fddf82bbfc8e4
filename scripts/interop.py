"""Loads exported models with the programs that they are for, and says what each computes: the Python half of `make test-interop`.

    python interop.py JOBS.json RESULTS.json

A job is {"name", "engine", "path", "prompt": [ids], "new": n, "vocab": size, "letter": id of a token that is one
character, "texts": [...], "conversation": [...]}. engine is transformers, peft (with
"base") or llama.cpp. Its result: "greedy", the n likeliest tokens one after the other;
"logprobs", the log-probabilities of all tokens at each of these places; "ids" of the texts; "chat", the conversation rendered
with a generation prompt.
"""
import json
import sys
import urllib.request


def transformers_model(job):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = job.get("base") or job["path"]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    if job["engine"] == "peft":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, job["path"])
    model.eval()
    ids, greedy, logprobs = list(job["prompt"]), [], []
    with torch.no_grad():
        for _ in range(job["new"]):
            row = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
            logprobs.append(row.tolist())
            greedy.append(int(row.argmax()))
            ids.append(greedy[-1])
    tokenizer = AutoTokenizer.from_pretrained(job["path"])
    return {"greedy": greedy, "logprobs": logprobs, "ids": [tokenizer.encode(t, add_special_tokens=False) for t in job["texts"]],
            "chat": tokenizer.apply_chat_template(job["conversation"], tokenize=False, add_generation_prompt=True)}


def llama_cpp(job):
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = job["path"]
    p.hostnames = ["127.0.0.1"]
    p.port = 0
    p.n_ctx = 256
    p.n_parallel = 1
    p.warmup = False
    p.use_jinja = True
    p.verbosity = 0
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 2
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(p)

    def ask(path, body):
        request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=60))

    # One place a request: the server leaves out tokens that are no whole characters, so it is made to take one that is. The
    # probabilities are those before that.
    ids, greedy, logprobs = list(job["prompt"]), [], []
    for _ in range(job["new"]):
        done = ask("/completion", {"prompt": ids, "n_predict": 1, "n_probs": job["vocab"], "logit_bias": [[job["letter"], 1000]], "temperature": 0, "cache_prompt": False})
        row = [-1e30] * job["vocab"]  # JSON has no infinity
        for t in done["completion_probabilities"][0]["top_logprobs"]:
            row[t["id"]] = t["logprob"]
        logprobs.append(row)
        greedy.append(row.index(max(row)))
        ids.append(greedy[-1])
    texts = [ask("/tokenize", {"content": t, "add_special": False, "parse_special": True})["tokens"] for t in job["texts"]]
    return {"greedy": greedy, "logprobs": logprobs, "ids": texts, "chat": ask("/apply-template", {"messages": job["conversation"]})["prompt"]}


jobs = json.load(open(sys.argv[1], encoding="utf-8"))
results = {}
for job in jobs:
    results[job["name"]] = llama_cpp(job) if job["engine"] == "llama.cpp" else transformers_model(job)
with open(sys.argv[2], "w", encoding="utf-8") as f:
    json.dump(results, f)
    f.flush()
import os

os._exit(0)  # llama.cpp's servers are let go without a farewell
