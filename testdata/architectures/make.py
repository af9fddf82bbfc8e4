"""Makes the tiny models of this folder and what transformers computes with them. See README.md.

    python make.py        # writes NAME/config.json, config.hub-style.json, model.safetensors, golden.safetensors
"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
SHAPE = dict(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=3, initializer_range=0.02,
)
# The factor's bounds lie among the wavelengths of a head of 16 values, so that frequencies fall into all three ranges.
LLAMA3 = dict(rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
MODELS = {
    "llama3-rope": ("Llama", dict(head_dim=16, rope_parameters=LLAMA3, tie_word_embeddings=False)),
    "linear-rope": ("Llama", dict(rope_parameters=dict(rope_type="linear", rope_theta=5e4, factor=2.5), tie_word_embeddings=True)),
    "llama-biases": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=1e4), attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "qwen2-untied": ("Qwen2", dict(rope_parameters=dict(rope_type="default", rope_theta=1e6), tie_word_embeddings=False)),
    "qwen3-tied": ("Qwen3", dict(head_dim=12, rope_parameters=dict(LLAMA3, rope_theta=1e6), attention_bias=True, tie_word_embeddings=True)),
}


def hub_style(config):
    """The same configuration as older versions of transformers spell it."""
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.51.0"
    return config


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for seed, (name, (family, extra)) in enumerate(MODELS.items()):
        out = HERE / name
        config = getattr(transformers, family + "Config")(**SHAPE, **extra)
        config._attn_implementation = "eager"
        model = getattr(transformers, family + "ForCausalLM")(config).float().eval()
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, p in model.named_parameters():
                noise = torch.randn(p.shape, generator=g)
                p.copy_(1 + 0.2 * noise if key.endswith("norm.weight") else 0.3 * noise if key.endswith("bias") else 0.15 * noise)
        model.save_pretrained(out)
        (out / "generation_config.json").unlink(missing_ok=True)
        text = json.loads((out / "config.json").read_text())
        (out / "config.hub-style.json").write_text(json.dumps(hub_style(text), indent=2) + "\n")

        ids = torch.randint(4, SHAPE["vocab_size"], (1, 90), generator=g)
        golden = {"input_ids": ids[0].to(torch.int32), "inv_freq": model.model.rotary_emb.inv_freq.clone()}
        result = model(ids, labels=ids)
        result.loss.backward()
        golden["logits"] = result.logits[0].detach().clone()
        golden["mean_ce"] = result.loss.detach().reshape(1).clone()
        for key, p in model.named_parameters():
            golden["grad." + key] = p.grad.clone()
        prompt = ids[:, :20]
        new = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=30, do_sample=False, eos_token_id=None, pad_token_id=3)
        golden["greedy_new_ids"] = new[0, 20:].to(torch.int32)
        save_file(golden, out / "golden.safetensors", metadata={"torch": torch.__version__, "transformers": transformers.__version__})


main()
