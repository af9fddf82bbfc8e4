"""Writes kquants.gguf, tensors of random blocks in types that the gguf package reads but does not write, and kquants.json, what it reads.

    pip install gguf==0.19.0 numpy && python make.py
"""
import json
import os

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf.quants import dequantize

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(5)
halves = {Q.Q4_K: (0, 2), Q.Q5_K: (0, 2), Q.Q6_K: (208,), Q.Q5_0: (0,)}  # where a block has its scales in half precision
w = gguf.GGUFWriter(os.path.join(here, "kquants.gguf"), "llama")
golden = {}
for q in (Q.Q4_K, Q.Q6_K, Q.Q5_K, Q.Q5_0):
    block, size = gguf.GGML_QUANT_SIZES[q]
    n = 3 if block == 256 else 24
    x = rng.integers(0, 256, (2 * n, size), dtype=np.uint8)
    for at in halves[q]:
        x[:, at:at + 2] = (rng.standard_normal((2 * n, 1)) * 0.01).astype(np.float16).view(np.uint8)
    x = x.reshape(2, n * size)  # two rows
    w.add_tensor(f"{q.name}.weight", x, raw_dtype=q)
    golden[q.name] = [float(v) for v in dequantize(x, q).astype(np.float32).flatten()]
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
with open(os.path.join(here, "kquants.json"), "w") as f:
    f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v) for k, v in golden.items() if k in ("Q4_K", "Q6_K")) + "\n}\n")
