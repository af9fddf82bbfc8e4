"""datatrove: InferenceRunner against an endpoint, with checkpoints. It asks the server for /v1/models first, hence the base URL without /v1."""
import glob
import json
import os

from peer_distill import MAX_TOKENS, MODEL, TEMPERATURE, flags, read_prompts, write_rows


async def ask(document, generate, **_):
    r = await generate({"messages": [{"role": "user", "content": document.text}], "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS})
    return r.text


def rows(folder):
    for name in sorted(glob.glob(os.path.join(folder, "*.jsonl"))):
        with open(name) as f:
            for row in map(json.loads, f):
                answers = [x for x in row["metadata"]["rollout_results"] if isinstance(x, str)]
                if answers:
                    yield row["text"], answers[0]


if __name__ == "__main__":  # its tasks are processes that import this file again
    a = flags()
    from datatrove.data import Document
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter

    folder = os.path.join(a.work, "out")
    config = InferenceConfig(server_type="endpoint", model_name_or_path=MODEL, endpoint_url=a.url.removesuffix("/v1"), api_key="none",
                             max_concurrent_generations=a.at_once, rollouts_per_document=1, request_timeout=a.timeout, metric_interval=30)
    runner = InferenceRunner(rollout_fn=ask, config=config, records_per_chunk=500, checkpoints_local_dir=os.path.join(a.work, "checkpoints"),
                             output_writer=JsonlWriter(folder, output_filename="${rank}_chunk_${chunk_index}.jsonl", compression=None))
    documents = [Document(text=p, id=str(i)) for i, p in enumerate(read_prompts(a))]
    try:
        LocalPipelineExecutor(pipeline=[documents, runner], logging_dir=os.path.join(a.work, "logs"), tasks=1).run()
    finally:
        write_rows(a, rows(folder))
