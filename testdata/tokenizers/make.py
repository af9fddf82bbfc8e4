"""Makes small tokenizers of each kind and what transformers does with them (cases.json). Run: python make.py

Needs transformers 5.23.0 and tokenizers 0.23.3. Each folder is a model directory's tokenizer; the byte-level ones are
variants of ../parity/train/models/tiny-llama."""
import copy
import json
import os

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "../parity/train/models/tiny-llama")
with open(os.path.join(TINY, "tokenizer.json"), encoding="utf-8") as f:
    FILE = json.load(f)
CONFIG = {"tokenizer_class": "TokenizersBackend", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
TEMPLATE = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{% for m in messages %}{{ m | tojson }}{% endfor %}{{ tools }}{{ documents }}{{ add_generation_prompt }}"
TEXTS = ["", "a", "Hello, world!", "  two  spaces ", "12345", "a\x00b\x00", "naïve 你好 😀 <b>", "one\n\ntwo\tthree", "<|im_start|>user<|im_end|>",
         "x\n\n5", "a  12 b\n 3. c", " <|im_start|> I'VE it'S <s> x</s>", "x <extra> y<extra>z", "don't stop . now , ok ?", "</s> <s> <unk> [CLS] [SEP]", "It 's a n't .", "\u00e9 e\u0301", "UPPER lower"]
MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "reasoning_content": "why", "tool_calls": [
    {"type": "function", "function": {"name": "f", "arguments": {"z": 1, "a": "é<"}}}]},
    {"role": "tool", "content": "1.0", "tool_call_id": "c", "name": "f"}, {"role": "assistant", "content": "ok"}]
CORPUS = ["Hello, world! It's a small test of two spaces, one\ntwo three.", "naïve 你好 12345 upper lower don't stop now ok", "aa ab ba bb abc cab"] * 4


def write(name, file, config, special=None, model=None):
    os.makedirs(os.path.join(HERE, name), exist_ok=True)
    if isinstance(file, Tokenizer):
        file = json.loads(file.to_str())
    for out, what in (("tokenizer.json", file), ("tokenizer_config.json", config), ("special_tokens_map.json", special), ("config.json", model)):
        if what is not None:
            with open(os.path.join(HERE, name, out), "w", encoding="utf-8") as f:
                json.dump(what, f, ensure_ascii=False, separators=(",", ":"))
                f.write("\n")


def changed(**keys):
    return {**copy.deepcopy(FILE), **keys}


added = {"content": "<extra>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": False}
write("bos-eos", FILE, {**CONFIG, "bos_token": "<|im_start|>", "add_bos_token": True, "add_eos_token": True, "chat_template": TEMPLATE})
write("no-bos", FILE, {**CONFIG, "bos_token": "<|im_start|>", "add_bos_token": False, "chat_template": [{"name": "default", "template": TEMPLATE}]})
write("padded", changed(truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
                        padding={"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"}),
      {**CONFIG, "pad_token": "<|endoftext|>", "chat_template": TEMPLATE})
write("added", FILE, {**CONFIG, "added_tokens_decoder": {"384": added}, "pad_token": "<|new_pad|>", "additional_special_tokens": ["<|tool|>"], "chat_template": TEMPLATE})
write("special-map", FILE, {**CONFIG, "chat_template": TEMPLATE}, {"eos_token": {"content": "<|endoftext|>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False},
                                                                      "bos_token": "<|im_start|>"})
write("no-post-processor", changed(post_processor=None), {**CONFIG, "chat_template": TEMPLATE})
write("split-special", FILE, {**CONFIG, "split_special_tokens": True, "chat_template": TEMPLATE})

wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
wordpiece.normalizer = normalizers.BertNormalizer(lowercase=True)
wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
wordpiece.decoder = decoders.WordPiece(cleanup=False)
wordpiece.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
wordpiece.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
write("wordpiece", wordpiece, {"tokenizer_class": "TokenizersBackend", "unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                               "clean_up_tokenization_spaces": True, "chat_template": TEMPLATE})
unigram = Tokenizer(models.Unigram())
unigram.normalizer = normalizers.NFKC()
unigram.pre_tokenizer = pre_tokenizers.Metaspace()
unigram.decoder = decoders.Metaspace()
unigram.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False))
write("unigram", unigram, {"tokenizer_class": "TokenizersBackend", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "chat_template": TEMPLATE})
level = Tokenizer(models.WordLevel(unk_token="<unk>"))
level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
level.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=["<unk>", "</s>"], show_progress=False))
write("wordlevel", level, {"tokenizer_class": "TokenizersBackend", "unk_token": "<unk>", "eos_token": "</s>", "chat_template": TEMPLATE})
fallback = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
fallback.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
fallback.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
fallback.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)], show_progress=False))
write("byte-fallback", fallback, {"tokenizer_class": "TokenizersBackend", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "chat_template": TEMPLATE})

# Classes that transformers builds anew from the vocabulary and the merges alone.
digits = changed(added_tokens=FILE["added_tokens"] + [{"id": 386, "content": "<extra>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": False, "special": False}])
digits["model"]["vocab"] |= {"ĊĊ": 384, "ĠĠ": 385}  # which only the split of digits lets stand before one
digits["model"]["merges"] += [["Ċ", "Ċ"], ["Ġ", "Ġ"]]
write("class-gpt2", digits, {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}, model={"model_type": "llama"})
write("class-qwen2", digits, {**CONFIG, "chat_template": TEMPLATE}, model={"model_type": "qwen2"})
write("class-qwen2-bos", FILE, {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": None, "add_bos_token": True, "chat_template": TEMPLATE}, model={"model_type": "qwen2"})
write("class-qwen2-added", FILE, {**CONFIG, "added_tokens_decoder": {"384": added}, "pad_token": "<|new_pad|>", "additional_special_tokens": ["<|tool|>"], "chat_template": TEMPLATE}, model={"model_type": "qwen2"})
write("class-qwen3", FILE, {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}, model={"model_type": "qwen3"})
write("class-qwen3-file", FILE, {**CONFIG, "chat_template": TEMPLATE}, model={"model_type": "qwen3"})
write("class-llama-bytes", FILE, {**CONFIG, "tokenizer_class": "LlamaTokenizerFast", "chat_template": TEMPLATE}, model={"model_type": "llama"})
sentencepiece = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
write("class-llama", fallback, {**sentencepiece, "tokenizer_class": "LlamaTokenizer"}, model={"model_type": "llama"})
write("class-llama-legacy", fallback, {**sentencepiece, "tokenizer_class": "LlamaTokenizerFast", "legacy": True, "add_bos_token": True, "add_eos_token": True}, model={"model_type": "llama"})
write("class-llama-bare", fallback, {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_prefix_space": False, "chat_template": TEMPLATE}, model={"model_type": "llama"})

cases = {}
for name in sorted(os.listdir(HERE)):
    if not os.path.isdir(os.path.join(HERE, name)):
        continue
    t = AutoTokenizer.from_pretrained(os.path.join(HERE, name))
    case = {"len": len(t), "bos": t.bos_token_id, "eos": t.eos_token_id, "pad": t.pad_token_id, "strings": []}
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=False)
        case["strings"].append({"text": text, "ids": ids, "with_special": t.encode(text), "decoded": t.decode(t.encode(text)),
                                "decoded_skip_special": t.decode(t.encode(text), skip_special_tokens=True)})
    case["render"] = t.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    cases[name] = case
with open(os.path.join(HERE, "cases.json"), "w", encoding="utf-8") as f:
    json.dump({"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "messages": MESSAGES, "cases": cases}, f, ensure_ascii=False, indent=0)
    f.write("\n")
