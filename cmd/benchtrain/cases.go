package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"stillhouse/internal/student"
)

// A benchCase is one training of ours and the peers that it is held against.
type benchCase struct {
	name  string
	peers []string // configurations of bench/peer_train.py
	keys  string   // under train, beside those of all cases
	qwen3 bool     // Qwen3-0.6B's shape with drawn weights, on rows of 512 tokens
}

const adapter = ", peft: {r: 16, lora_alpha: 32, target_modules: all-linear}"

var cases = []benchCase{
	{name: "full_bs1x8", peers: []string{"full_bs1x8", "plain_bs1x8"}, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 8"},
	{name: "full_bs8", peers: []string{"full_bs8"}, keys: "per_device_train_batch_size: 8, gradient_accumulation_steps: 1"},
	{name: "lora_bs1x8", peers: []string{"lora_bs1x8"}, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 8" + adapter},
	{name: "packing", peers: []string{"packing"}, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 2, packing: true"},
	{name: "qwen3_full", qwen3: true, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 2, max_length: 512, truncation_mode: keep_end"},
	{name: "qwen3_lora", qwen3: true, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 2, max_length: 512, truncation_mode: keep_end, peft: {r: 16, lora_alpha: 32, target_modules: all-linear, merge: true}"},
}

// config is the config file of a case.
func (b settings) config(c benchCase) string {
	student, rows := b.smollm2, filepath.Join(b.work, "rows.jsonl")
	if c.qwen3 {
		student, rows = filepath.Join(b.work, "qwen3"), filepath.Join(b.work, "long.jsonl")
	}
	if strings.Contains(c.keys, "eval_strategy") {
		c.keys += fmt.Sprintf(", eval_data: {path: %q, limit: 8}", rows)
	}
	return fmt.Sprintf("name: %s\ntrain: {student: %q, data: {path: %q}, learning_rate: 8e-5, max_steps: %d, logging_steps: 1, %s}\n", c.name, student, rows, b.steps+1, c.keys)
}

// shape is Qwen3-0.6B's.
const shape = `{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 40960,
"initializer_range": 0.02, "rms_norm_eps": 1e-06, "rope_theta": 1000000, "tie_word_embeddings": true, "attention_bias": false, "use_sliding_window": false,
"bos_token_id": 151643, "eos_token_id": 151645, "torch_dtype": "float32"}
`

// prepare writes the rows as conversations, long rows of the same text, and the directory of Qwen3's shape.
func (b settings) prepare() error {
	text, err := os.ReadFile(b.rows)
	if err != nil {
		return err
	}
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var rows, long, all strings.Builder
	into := json.NewEncoder(&rows)
	for line := range strings.Lines(string(text)) {
		var r struct{ Question, Answer string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return fmt.Errorf("%s: %w", b.rows, err)
		}
		all.WriteString(r.Question + "\n" + r.Answer + "\n\n")
		if err := into.Encode(map[string]any{"prompt": []message{{"user", r.Question}}, "completion": []message{{"assistant", r.Answer}}}); err != nil {
			return err
		}
	}
	for range 8 {
		if err := json.NewEncoder(&long).Encode(map[string]string{"text": all.String()}); err != nil {
			return err
		}
	}
	dir := filepath.Join(b.work, "qwen3")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"rows.jsonl": rows.String(), "long.jsonl": long.String(), "qwen3/config.json": shape} {
		if err := os.WriteFile(filepath.Join(b.work, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if err := unzip(filepath.Join(b.qwen3, name+".gz"), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(b.chosen(), func(c benchCase) bool { return c.qwen3 }) {
		return nil
	}
	c, err := student.ReadConfig(dir)
	if err != nil {
		return err
	}
	log.Print("drawing the weights of Qwen3-0.6B's shape")
	defer debug.FreeOSMemory()
	return student.Save(student.New(c, 1, 0.02), dir, student.SaveOptions{From: dir})
}

func unzip(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, text, 0o644)
}
