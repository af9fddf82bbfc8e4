"""distilabel: TextGeneration over OpenAILLM. It sends a batch and waits for all of it, so that the batch is what is asked at once."""
import os

from peer_distill import MAX_TOKENS, MODEL, TEMPERATURE, flags, read_prompts, write_rows

if __name__ == "__main__":  # its steps are processes that import this file again
    a = flags()
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    with Pipeline(name="bench", cache_dir=os.path.join(a.work, "cache")) as pipeline:
        prompts = LoadDataFromDicts(data=[{"instruction": p} for p in read_prompts(a)], batch_size=a.at_once)
        llm = OpenAILLM(model=MODEL, base_url=a.url, api_key="none", timeout=int(a.timeout), max_retries=6,
                        generation_kwargs={"temperature": TEMPERATURE, "max_new_tokens": MAX_TOKENS})
        prompts >> TextGeneration(llm=llm, input_batch_size=a.at_once)
    rows = pipeline.run(use_cache=True)["default"]["train"]
    write_rows(a, ((r["instruction"], r["generation"]) for r in rows))
