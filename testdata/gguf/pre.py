"""Writes pre.jsonl: what llama.cpp makes of the strings of ../parity/train/chat/tiny_strings.jsonl with each pre-tokenizer over the tiny model's vocabulary.

    pip install gguf==0.19.0 xllamacpp==2026.10.11549 && python pre.py
"""
import json
import os
import tempfile
import unicodedata
import urllib.request

import gguf
import xllamacpp

here = os.path.dirname(os.path.abspath(__file__))
parity = os.path.join(here, "..", "parity", "train")
texts = [json.loads(line)["text"] for line in open(os.path.join(parity, "chat", "tiny_strings.jsonl"), encoding="utf-8")]
texts += ["I'LL we'Ve it's 1234567 a1b22c333", "x  =  y\t\n\n  z ", "(a+b)<c>~d|e^f$g", "100,000.50€ — “quoted”", "ŠĐŽ'll ９８７ ²³ Ⅷ", " \n \n  end", "a\r\nb\r\n\r\n"]
reader = gguf.GGUFReader(os.path.join(parity, "gguf", "tiny-llama.Q4_0.gguf"))
with open(os.path.join(here, "pre.jsonl"), "w", encoding="utf-8") as out, tempfile.TemporaryDirectory() as tmp:
    for pre in ("gpt-2", "smollm", "qwen2", "llama-bpe", "default"):
        path = os.path.join(tmp, pre + ".gguf")
        w = gguf.GGUFWriter(path, "llama")
        for k, field in reader.fields.items():
            if k.startswith("GGUF.") or k == "general.architecture":
                continue
            value = pre if k == "tokenizer.ggml.pre" else field.contents()
            w.add_key_value(k, value, field.types[0], field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None)
        for t in reader.tensors:
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        p = xllamacpp.CommonParams()
        p.model.path = path
        p.hostnames = ["127.0.0.1"]
        p.port = 0
        p.n_ctx = 256
        p.warmup = False
        server = xllamacpp.Server(p)
        for text in texts:
            # llama.cpp does not normalise, as Qwen's own tokenizer does, and ends a text at a NUL.
            if "\0" in text or unicodedata.normalize("NFC", text) != text:
                continue
            body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
            request = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
            ids = json.load(urllib.request.urlopen(request))["tokens"]
            out.write(json.dumps({"pre": pre, "text": text, "ids": ids}, ensure_ascii=False) + "\n")
        del server
os._exit(0)
