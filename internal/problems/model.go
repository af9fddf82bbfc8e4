package problems

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// The shape of the demo's models, 0.86 million parameters. No row has more than 80 tokens.
const (
	hidden       = 128
	layers       = 4
	heads        = 4
	feedForward  = 384
	maxPositions = 256
)

// ModelFiles are the files of a model's folder but for its weights: enough to train one from scratch. The same on
// every call, byte for byte.
func ModelFiles() (map[string][]byte, error) {
	end, pad := slices.Index(special, End), slices.Index(special, Padding)
	files := map[string][]byte{}
	for name, v := range map[string]any{
		"config.json": map[string]any{
			"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "vocab_size": len(Vocabulary()),
			"hidden_size": hidden, "intermediate_size": feedForward, "num_hidden_layers": layers,
			"num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": hidden / heads,
			"hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": nil,
			"max_position_embeddings": maxPositions, "tie_word_embeddings": true, "attention_bias": false,
			"mlp_bias": false, "attention_dropout": 0.0, "initializer_range": 0.02, "torch_dtype": "bfloat16",
			"use_cache": true, "bos_token_id": nil, "eos_token_id": end, "pad_token_id": pad,
		},
		"generation_config.json": map[string]any{"eos_token_id": end, "pad_token_id": pad},
		"tokenizer.json":         tokenizerJSON(),
		"tokenizer_config.json":  tokenizerConfig(),
		"special_tokens_map.json": map[string]any{"unk_token": Unknown, "pad_token": Padding, "eos_token": End,
			"additional_special_tokens": []string{System, User, Assistant}},
	} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return nil, fmt.Errorf("problems: %s: %w", name, err)
		}
		files[name] = b.Bytes()
	}
	return files, nil
}

// WriteModel writes [ModelFiles] into a folder, which it makes.
func WriteModel(dir string) error {
	files, err := ModelFiles()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("problems: %w", err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("problems: %w", err)
		}
	}
	return nil
}
