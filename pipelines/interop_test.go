//go:build interop

package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"stillhouse/internal/chat"
	"stillhouse/internal/export"
	"stillhouse/internal/student"
)

// The programs that exports are for load them and compute what this one says of the same model: transformers, peft and
// llama.cpp, through scripts/interop.py. `make test-interop` runs it.

// A job is what one of them is asked.
type job struct {
	Name         string              `json:"name"`
	Engine       string              `json:"engine"`
	Path         string              `json:"path"`
	Base         string              `json:"base,omitempty"`
	Prompt       []int32             `json:"prompt"`
	New          int                 `json:"new"`
	Vocab        int                 `json:"vocab"`
	Letter       int32               `json:"letter"` // a token that is one character
	Texts        []string            `json:"texts"`
	Conversation []map[string]string `json:"conversation"`

	ours  *answered
	bound float64 // of the difference of a log-probability
}

// An answered is what a program computes.
type answered struct {
	Greedy   []int32     `json:"greedy"`
	Logprobs [][]float64 `json:"logprobs"` // of each token at each place of Greedy
	IDs      [][]int32   `json:"ids"`
	Chat     string      `json:"chat"`

	letter int32
}

var (
	interopTexts        = []string{"It's 1,234 pens — isn't it?\n\n  x = [1, 2]\t", "Größe 東京 <|im_start|>user\nhi<|im_end|>"}
	interopConversation = []map[string]string{{"role": "user", "content": "How many pens?"}, {"role": "assistant", "content": "Three."}, {"role": "user", "content": "And now?"}}
)

const interopNew = 12

// bounds are how far log-probabilities may lie apart, by engine and type. transformers computes in fp32 as we do.
// llama.cpp rounds what a matrix is multiplied by to the type of the matrix, for q4_0 to q8_0: about twice the largest
// difference that was seen is allowed. Between two models, differences are above 5.
var bounds = map[string]float64{"transformers": 1e-4, "peft": 1e-4, "f32": 1e-4, "f16": 0.06, "bf16": 0.3, "q8_0": 0.7, "q4_0": 0.8}

// say is what this program computes of a model that it loads itself.
func say(t *testing.T, path string, prompt []int32) *answered {
	t.Helper()
	m, base, err := student.OpenStudent(path, func(base string) (string, error) { return base, nil })
	if err != nil {
		t.Fatal(err)
	}
	tk, err := chat.Load(student.TokenizerDir(path, base))
	if err != nil {
		t.Fatal(err)
	}
	defer tk.Close()
	letter, ok := tk.ID("a")
	if !ok {
		t.Fatal("the tokenizer has no letter a")
	}
	a := &answered{letter: letter}
	ids := slices.Clone(prompt)
	v := m.Config.VocabSize
	for range interopNew {
		logits, err := m.Logits(student.Batch{Tokens: ids, Lengths: []int{len(ids)}})
		if err != nil {
			t.Fatal(err)
		}
		row, sum, best := logits[len(logits)-v:], 0.0, 0
		for i, x := range row {
			if sum += math.Exp(float64(x)); x > row[best] {
				best = i
			}
		}
		logprobs := make([]float64, v)
		for i, x := range row {
			logprobs[i] = float64(x) - math.Log(sum)
		}
		a.Greedy, a.Logprobs, ids = append(a.Greedy, int32(best)), append(a.Logprobs, logprobs), append(ids, int32(best))
		if best == int(tk.EOS()) {
			break
		}
	}
	for _, text := range interopTexts {
		a.IDs = append(a.IDs, tk.Encode(text))
	}
	var ms []chat.Message
	for _, m := range interopConversation {
		ms = append(ms, chat.Message{Role: m["role"], Content: m["content"]})
	}
	if a.Chat, err = tk.Render(ms, chat.RenderOptions{AddGenerationPrompt: true}); err != nil {
		t.Fatal(err)
	}
	return a
}

// differs says how the answer of another program differs from ours, "" when it does not. A place where the two likeliest
// tokens lie closer together than the bound ends the comparison: from there on, either may be taken.
func (a *answered) differs(b *answered, bound float64) (worst float64, how string) {
	for i, ours := range a.Logprobs {
		if i >= len(b.Logprobs) || i >= len(b.Greedy) {
			return worst, fmt.Sprintf("it ends after %d tokens, not %d", len(b.Greedy), len(a.Greedy))
		}
		for id, x := range ours {
			// Improbable tokens are summed up from many numbers: they count for less.
			if x < -12 {
				continue
			}
			if d := math.Abs(x - b.Logprobs[i][id]); d > worst || math.IsNaN(d) {
				worst = d
			}
		}
		if !(worst <= bound) {
			return worst, fmt.Sprintf("at place %d a log-probability differs by %v, more than %v", i, worst, bound)
		}
		second := math.Inf(-1)
		for id, x := range ours {
			if int32(id) != a.Greedy[i] {
				second = max(second, x)
			}
		}
		if a.Greedy[i] != b.Greedy[i] {
			if ours[a.Greedy[i]]-second > 2*bound {
				return worst, fmt.Sprintf("place %d is token %d, not %d", i, b.Greedy[i], a.Greedy[i])
			}
			break
		}
	}
	for i, ids := range a.IDs {
		if !slices.Equal(ids, b.IDs[i]) {
			return worst, fmt.Sprintf("the ids of %q are %v, not %v", interopTexts[i], b.IDs[i], ids)
		}
	}
	if a.Chat != b.Chat {
		return worst, fmt.Sprintf("the conversation is %q, not %q", b.Chat, a.Chat)
	}
	return worst, ""
}

// trainedStudent is a student that this program has trained for three updates.
func trainedStudent(t *testing.T, base, more string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("name: tiny\ntrain: {student: %s, data: {path: ../testdata/parity/train/sft/data/messages.jsonl}, max_steps: 3, learning_rate: 1e-3, logging_steps: 1%s}\n", base, more)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := LoadTraining(config)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := Train(context.Background(), c, RunOptions{Runs: dir, UI: UI{Out: &out}}); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	return filepath.Join(dir, "tiny", "student")
}

// exported is the path of an export of a model: a directory, or the GGUF file in it.
func exported(t *testing.T, from string, o export.Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := ExportModel(context.Background(), from, dir, o); err != nil {
		t.Fatal(err)
	}
	if o.Format != export.GGUF {
		return dir
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.gguf"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

// llama3 is a Llama with what the stored models lack: Llama 3's rotary scaling, early enough to be seen in a short text,
// and a head of its own.
func llama3(t *testing.T) string {
	t.Helper()
	tiny := "../testdata/parity/train/models/tiny-llama"
	c, err := student.ReadConfig(tiny)
	if err != nil {
		t.Fatal(err)
	}
	c.TieWordEmbeddings = false
	c.RopeScaling = student.RopeScaling{Type: "llama3", Factor: 8, LowFreq: 1, HighFreq: 4, Original: 64}
	dir := filepath.Join(t.TempDir(), "tiny-llama3")
	if err := student.Save(student.New(c, 11, 0.25), dir, student.SaveOptions{Tokenizer: tiny}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInterop(t *testing.T) {
	python := os.Getenv("STILLHOUSE_INTEROP_PYTHON")
	if python == "" {
		t.Fatal("STILLHOUSE_INTEROP_PYTHON is not set: run this by make test-interop, which installs what it needs")
	}
	var jobs []*job
	add := func(name, engine, path, base, bound string) {
		prompt := []int32{1, 100, 200, 300, 42, 7, 77, 250, 19, 133, 5, 380}
		ours := say(t, path, prompt)
		jobs = append(jobs, &job{Name: name, Engine: engine, Path: path, Base: base, Prompt: prompt, New: len(ours.Greedy), Vocab: len(ours.Logprobs[0]), Letter: ours.letter,
			Texts: interopTexts, Conversation: interopConversation, ours: ours, bound: bounds[bound]})
	}
	for _, name := range []string{"tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-llama3"} {
		base := "../testdata/parity/train/models/" + name
		if name == "tiny-llama3" {
			base = llama3(t)
		}
		from := trainedStudent(t, base, "")
		to := func(o export.Options) string { return exported(t, from, o) }
		add(name+" as it was trained", "transformers", from, "", "transformers")
		add(name+" in shards", "transformers", to(export.Options{MaxShardSize: 150_000}), "", "transformers")
		add(name+" in bf16", "transformers", to(export.Options{Dtype: "bf16"}), "", "transformers")
		for _, dtype := range []string{"f32", "f16", "bf16", "q8_0", "q4_0"} {
			add(name+" as GGUF "+dtype, "llama.cpp", to(export.Options{Format: export.GGUF, Dtype: dtype}), "", dtype)
		}
	}
	for name, peft := range map[string]string{"LoRA": "use_rslora: true", "DoRA": "use_dora: true"} {
		base, err := filepath.Abs("../testdata/parity/train/models/tiny-llama")
		if err != nil {
			t.Fatal(err)
		}
		from := trainedStudent(t, base, ", peft: {r: 4, lora_alpha: 16, target_modules: all-linear, "+peft+"}, lr_scheduler_type: constant")
		add(name+" as it was trained", "peft", from, base, "peft")
		trained := jobs[len(jobs)-1]
		if _, how := trained.ours.differs(say(t, base, trained.Prompt), trained.bound); how == "" {
			t.Errorf("%s: the adapter changes nothing that could be seen", name)
		}
		add(name+" as exported", "peft", exported(t, from, export.Options{Format: export.PEFT}), base, "peft")
		add(name+" merged", "transformers", exported(t, from, export.Options{Format: export.Merged}), "", "transformers")
		add(name+" merged, as GGUF", "llama.cpp", exported(t, from, export.Options{Format: export.GGUF}), "", "f32")
	}
	theirs := ask(t, python, jobs)
	for i, j := range jobs {
		got, ok := theirs[j.Name]
		if !ok {
			t.Errorf("%s: %s said nothing", j.Name, j.Engine)
			continue
		}
		worst, how := j.ours.differs(got, j.bound)
		if how != "" {
			t.Errorf("%s in %s: %s", j.Name, j.Engine, how)
		}
		t.Logf("%-32s %-12s log-probabilities differ by %.2g, at most %g allowed", j.Name, j.Engine, worst, j.bound)
		// The comparison can fail: the same answer held against that of another model does.
		if other := jobs[(i+8)%len(jobs)]; other.ours != j.ours {
			if _, how := other.ours.differs(got, j.bound); how == "" {
				t.Errorf("%s in %s is taken for %s", j.Name, j.Engine, other.Name)
			}
		}
	}
}

// ask has the other programs do the jobs.
func ask(t *testing.T, python string, jobs []*job) map[string]*answered {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	in, out := filepath.Join(dir, "jobs.json"), filepath.Join(dir, "results.json")
	if err := os.WriteFile(in, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "../scripts/interop.py", in, out)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "TRANSFORMERS_VERBOSITY=error", "TOKENIZERS_PARALLELISM=false")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/interop.py: %v\n%s", err, said)
	}
	if text, err = os.ReadFile(out); err != nil {
		t.Fatal(err)
	}
	var results map[string]*answered
	if err := json.Unmarshal(text, &results); err != nil {
		t.Fatal(err)
	}
	return results
}
