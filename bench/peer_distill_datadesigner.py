"""NeMo Data Designer: a seed dataset of the prompts and one column that a model writes."""
import json
import os

from peer_distill import MAX_TOKENS, MODEL, TEMPERATURE, flags, read_prompts, write_rows

a = flags()
os.environ["NEMO_TELEMETRY_ENABLED"] = "false"
import data_designer.config as dd
from data_designer.interface import DataDesigner

prompts = read_prompts(a)
seed = os.path.join(a.work, "seed.jsonl")
with open(seed, "w") as f:
    for p in prompts:
        f.write(json.dumps({"question": p}) + "\n")
model = dd.ModelConfig(alias="teacher", model=MODEL, provider="mock", inference_parameters=dd.ChatCompletionInferenceParams(
    max_parallel_requests=a.at_once, temperature=TEMPERATURE, max_tokens=MAX_TOKENS, timeout=int(a.timeout)))
columns = dd.DataDesignerConfigBuilder(model_configs=[model])
columns.with_seed_dataset(dd.LocalFileSeedSource(path=seed))
columns.add_column(dd.LLMTextColumnConfig(name="answer", prompt="{{ question }}", model_alias="teacher"))
designer = DataDesigner(artifact_path=os.path.join(a.work, "artifacts"),
                        model_providers=[dd.ModelProvider(name="mock", endpoint=a.url, provider_type="openai", api_key="none")])
designer.set_run_config(dd.RunConfig(otel_metrics_port=None))
if hasattr(dd, "ResumeMode"):
    resume = dd.ResumeMode.IF_POSSIBLE
else:
    from data_designer.config.run_config import ResumeMode

    resume = ResumeMode.IF_POSSIBLE
rows = designer.create(columns, num_records=len(prompts), dataset_name="bench", resume=resume).load_dataset()
write_rows(a, zip(rows["question"], rows["answer"]))
