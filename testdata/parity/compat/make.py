"""SFT runs of older releases of TRL on the tiny Llama: what each micro-batch held and what came of each update.

    python make.py RUN

with the releases that README.md names for the run on PYTHONPATH. fp32, one thread, CPU; the rows stand in their order,
so that the runs differ in nothing but what is asked about.
"""
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_DISABLED", "true")

import torch

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

import datasets
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig, SFTTrainer

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "../train/models/tiny-llama")
ROWS = os.path.join(HERE, "../train/sft/data")

RUNS = {  # rows, their number
    "unshifted-count": ("messages.jsonl", 28),
    "mask-pad-token": ("messages.jsonl", 28),
    "no-eos": ("text.jsonl", 24),
    "eos-ids": ("messages.jsonl", 28),
    "micro-batch-mean": ("messages.jsonl", 28),
}
SET = dict(per_device_train_batch_size=2, gradient_accumulation_steps=2, learning_rate=1e-3, num_train_epochs=1, logging_steps=1)


def load(tmp):
    """The model and tokenizer, from files that every release reads."""
    for name in os.listdir(MODEL):
        shutil.copy(os.path.join(MODEL, name), tmp)
    shutil.copy(os.path.join(MODEL, "config.hub-style.json"), os.path.join(tmp, "config.json"))
    kw = {"attn_implementation": "eager", "torch_dtype": torch.float32}
    model = AutoModelForCausalLM.from_pretrained(tmp, **kw)
    c = json.load(open(os.path.join(MODEL, "tokenizer_config.json")))
    tok = PreTrainedTokenizerFast(tokenizer_file=os.path.join(MODEL, "tokenizer.json"), eos_token=c["eos_token"], pad_token=c["pad_token"],
                                  bos_token=c["bos_token"], unk_token=c["unk_token"], model_max_length=512, clean_up_tokenization_spaces=False)
    tok.chat_template = c.get("chat_template") or open(os.path.join(MODEL, "chat_template.jinja")).read()
    assert tok.pad_token == tok.eos_token
    return model, tok


class Recorder(SFTTrainer):
    recorded = []

    def _get_train_sampler(self, *a, **k):
        return SequentialSampler(self.train_dataset)

    def training_step(self, model, inputs, *count):
        labels, ids = inputs["labels"], inputs["input_ids"]
        rec = {"update": self.state.global_step + 1, "input_ids": ids.tolist(), "labels": labels.tolist()}
        rec["num_items_in_batch"] = float(count[0]) if count and count[0] is not None else None
        loss = super().training_step(model, inputs, *count)
        rec["loss"] = loss.item()
        self.recorded.append(rec)
        return loss


def main(name):
    file, n = RUNS[name]
    rows = [json.loads(line) for line in open(os.path.join(ROWS, file), encoding="utf-8")][:n]
    tmp = tempfile.mkdtemp()
    model, tok = load(tmp)
    kw = dict(SET, output_dir=tmp, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, optim="adamw_torch", gradient_checkpointing=False)
    for more in ({"max_length": 512, "bf16": False}, {"max_seq_length": 512}):
        try:
            args = SFTConfig(**kw, **more)
            break
        except TypeError:
            continue
    set_seed(42)
    try:
        trainer = Recorder(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tok)
    except TypeError:
        trainer = Recorder(model=model, args=args, train_dataset=Dataset.from_list(rows), tokenizer=tok)
    trainer.train()
    updates = []
    for line in trainer.state.log_history:
        if "loss" not in line:
            continue
        mine = [r for r in trainer.recorded if r["update"] == line["step"]]
        updates.append({"step": line["step"], "loss": sum(r["loss"] for r in mine), "grad_norm": float(line["grad_norm"]), "learning_rate": line["learning_rate"],
                        "num_items_in_batch": mine[0]["num_items_in_batch"]})
    out = os.path.join(HERE, name)
    os.makedirs(out, exist_ok=True)
    for file_, lines in (("batches.jsonl", trainer.recorded), ("updates.jsonl", updates)):
        with open(os.path.join(out, file_), "w") as f:
            for line in lines:
                f.write(json.dumps(line, separators=(",", ":")) + "\n")
    params = {k: p.detach().double().norm().item() for k, p in trainer.model.named_parameters()}
    versions = {p: importlib.metadata.version(p) for p in ("trl", "transformers", "accelerate", "tokenizers", "datasets", "torch")}
    with open(os.path.join(out, "run.json"), "w") as f:
        json.dump({"rows": file, "n": n, "set": SET, "versions": versions, "l2": params}, f, indent=1)
        f.write("\n")
    print(name, versions["trl"], versions["transformers"], [(round(u["loss"], 4), round(u["grad_norm"], 3), u["num_items_in_batch"]) for u in updates])


main(sys.argv[1])
