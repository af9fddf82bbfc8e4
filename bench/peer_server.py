"""Serves a GGUF file with llama.cpp's server until it is told to end; prints the base URL once requests are answered.

    python bench/peer_server.py FILE.gguf --parallel 8 --threads 2
"""
import argparse
import os
import signal
import threading

import xllamacpp

p = argparse.ArgumentParser()
p.add_argument("gguf")
p.add_argument("--parallel", type=int, default=8)
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
c = xllamacpp.CommonParams()
c.model.path, c.model_alias = a.gguf, {"peer"}
c.hostnames, c.port = ["127.0.0.1"], 0
c.n_parallel, c.n_ctx, c.kv_unified, c.use_jinja = a.parallel, 1024 * a.parallel, True, True
c.cpuparams.n_threads = c.cpuparams_batch.n_threads = a.threads
server = xllamacpp.Server(c)
print(f"{server.listening_address}/v1", flush=True)
stop = threading.Event()
for s in (signal.SIGTERM, signal.SIGINT):
    signal.signal(s, lambda *_: stop.set())
while not stop.wait(1):
    pass
os._exit(0)
