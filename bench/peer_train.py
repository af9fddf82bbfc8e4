"""How fast Python trains a model on this machine's processor: one configuration a process, one JSON object on its last line.

    python bench/peer_train.py --data testdata/gsm8k/first32.jsonl --model DIR --config full_bs1x8

full_bs1x8   TRL's SFTTrainer, fp32, batch 1, 8 accumulated        full_bs8   the same, batch 8
lora_bs1x8   TRL with PEFT, rank 16 on every linear layer          packing    TRL, packed rows of max_length, batch 1, 2 accumulated
plain_bs1x8  no Trainer: forward, the head on labels alone, backward, clipping, torch's fused AdamW; batch 1, 8 accumulated

Rows have a question and an answer: prompt and completion of a conversation, loss on the completion. tokens_per_s counts what is
not padding, over the wall time of the updates after the first --warmup; cpu_s is the process's processor time in them. gemm is
torch's bare fp32 product of 256x576 and 576x1536, GFLOP/s, before and after.
"""
import argparse
import json
import os
import time
import warnings

CONFIGS = {"full_bs1x8": (1, 8), "full_bs8": (8, 1), "lora_bs1x8": (1, 8), "packing": (1, 2), "plain_bs1x8": (1, 8)}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RATE = 8e-5

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--config", choices=CONFIGS, required=True)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--warmup", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
os.environ.update(
    OMP_NUM_THREADS=str(args.threads), MKL_NUM_THREADS=str(args.threads), TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

import datasets  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402

torch.set_num_threads(args.threads)
datasets.disable_progress_bars()


def gemm():
    """GFLOP/s of a bare product, the mean of 30."""
    x, w = torch.randn(256, 576), torch.randn(576, 1536)
    for _ in range(5):
        x @ w
    began = time.perf_counter()
    for _ in range(30):
        x @ w
    return round(30 * 2 * 256 * 576 * 1536 / 1e9 / (time.perf_counter() - began), 1)


def peak_mib():
    """The most memory this process has held. getrusage would count the memory of the process that started it, too."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:")) // 1024


class Meter:
    """What has been seen at the end of each update."""

    def __init__(self):
        self.tokens = self.labels = 0
        self.marks = []

    def see(self, batch):
        mask = batch.get("attention_mask")
        self.tokens += int(mask.sum()) if mask is not None else batch["input_ids"].numel()
        self.labels += int((batch["labels"][:, 1:] != -100).sum())

    def mark(self):
        self.marks.append((time.perf_counter(), time.process_time(), self.tokens, self.labels))


meter = Meter()


class Clock(transformers.TrainerCallback):
    def on_train_begin(self, *_, **__):
        meter.mark()

    def on_step_end(self, *_, **__):
        meter.mark()


class Trainer(trl.SFTTrainer):
    def training_step(self, model, inputs, n=None):
        meter.see(inputs)
        return super().training_step(model, inputs, n)


def plain(trainer, accumulated, updates):
    """The loop that a careful user writes by hand."""
    model = trainer.model
    batches = list(trainer.get_train_dataloader())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    losses = []
    meter.mark()
    model.train()
    for u in range(updates):
        window = [batches[(u * accumulated + i) % len(batches)] for i in range(accumulated)]
        labels = sum(int((b["labels"][:, 1:] != -100).sum()) for b in window)
        total = 0.0
        for b in window:
            meter.see(b)
            states = model.model(input_ids=b["input_ids"], attention_mask=b["attention_mask"], use_cache=False).last_hidden_state[:, :-1]
            targets = b["labels"][:, 1:]
            kept = targets != -100
            loss = torch.nn.functional.cross_entropy(model.lm_head(states[kept]), targets[kept], reduction="sum") / labels
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (updates - u) / updates
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        meter.mark()
    return losses


def main():
    rows = []
    with open(args.data) as f:
        for line in f:
            r = json.loads(line)
            rows.append({"prompt": [{"role": "user", "content": r["question"]}], "completion": [{"role": "assistant", "content": r["answer"]}]})
    batch, accumulated = CONFIGS[args.config]
    peft = None
    if args.config.startswith("lora"):
        from peft import LoraConfig

        peft = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=LINEAR)
    updates = args.steps + args.warmup
    config = trl.SFTConfig(
        output_dir=os.path.join(os.environ.get("TMPDIR", "/tmp"), "stillhouse-peer-train"), use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", save_strategy="no", logging_steps=1, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated,
        learning_rate=RATE, max_steps=updates, seed=42, disable_tqdm=True, dataloader_pin_memory=False, max_length=1024,
        packing=args.config == "packing")
    torch.manual_seed(42)
    rate = [gemm()]
    trainer = Trainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32), args=config,
        train_dataset=datasets.Dataset.from_list(rows), processing_class=transformers.AutoTokenizer.from_pretrained(args.model), peft_config=peft,
        callbacks=[Clock()])
    trainer.remove_callback(transformers.PrinterCallback)
    if args.config.startswith("plain"):
        losses = plain(trainer, accumulated, updates)
    else:
        trainer.train()
        losses = [x["loss"] for x in trainer.state.log_history if "loss" in x]
    rate.append(gemm())
    first, last = meter.marks[args.warmup], meter.marks[-1]
    wall, cpu, tokens, labels = (b - a for a, b in zip(first, last))
    print(json.dumps({
        "config": args.config, "threads": args.threads, "updates": args.steps, "tokens": tokens, "labels": labels, "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3), "tokens_per_s": round(tokens / wall, 2), "loss": [round(x, 5) for x in losses],
        "peak_mib": peak_mib(), "gemm": rate,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}}), flush=True)


main()
