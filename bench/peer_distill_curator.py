"""bespokelabs-curator: curator.LLM with its openai backend, all of its own limits out of the way."""
import os

from peer_distill import MAX_TOKENS, MODEL, TEMPERATURE, flags, read_prompts, write_rows

a = flags()
os.environ.update(CURATOR_CACHE_DIR=os.path.join(a.work, "cache"), TELEMETRY_ENABLED="false", CURATOR_VIEWER="0")
import litellm  # has the vocabulary that tiktoken would download

os.environ["TIKTOKEN_CACHE_DIR"] = os.path.join(os.path.dirname(litellm.__file__), "litellm_core_utils", "tokenizers")
from bespokelabs import curator


class Ask(curator.LLM):
    def prompt(self, row):
        return row["prompt"]

    def parse(self, row, response):
        return {"prompt": row["prompt"], "answer": response}


ask = Ask(model_name=MODEL, backend="openai", generation_params={"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS},
          backend_params={"base_url": a.url, "api_key": "none", "max_concurrent_requests": a.at_once, "max_requests_per_minute": 10**6,
                          "max_tokens_per_minute": 10**9, "max_retries": 10, "request_timeout": int(a.timeout), "require_all_responses": False})
rows = ask([{"prompt": p} for p in read_prompts(a)])
write_rows(a, ((r["prompt"], r["answer"]) for r in getattr(rows, "dataset", rows)))
