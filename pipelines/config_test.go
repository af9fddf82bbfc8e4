package pipelines

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/distill/grow"
	"stillhouse/distill/prompts"
	"stillhouse/internal/options"
	"stillhouse/train"
)

// wellFormed is a config with everything in it, a key a line.
const wellFormed = `name: try
prompts:
  path: rows.jsonl
  reference: answer
distill:
  endpoint: http://127.0.0.1:9/v1
  model: m
  samples: 4
curate:
  rewards:
  - math:
      weight: 1
  - length: {max_tokens: 40, weight: 0.1}
  select:
    best: 1
filter:
- truncated
- minhash: {threshold: 0.8}
train:
  student: tiny
  learning_rate: 1e-3
eval:
  path: test.jsonl
  reference: answer
  arms: [curated, base]
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "try.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// wrongly holds what a reader says of a wrong config against the exact lines wanted, each without the file's name.
func wrongly(t *testing.T, read func(path string) error, text, want string) {
	t.Helper()
	path := writeConfig(t, text)
	err := read(path)
	if err == nil {
		t.Fatalf("no error, not %s", want)
	}
	if got := strings.ReplaceAll(err.Error(), path+": ", ""); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := strings.Count(err.Error(), path+": line "); n != 1+strings.Count(want, "\n") {
		t.Errorf("the file is named %d times in %s", n, err)
	}
	if k := stillhouse.KindOf(err); k != stillhouse.Invalid {
		t.Errorf("the error is %v", k)
	}
}

func TestWrongConfig(t *testing.T) {
	rewards := strings.Join(reward.Names(), ", ")
	for _, c := range []struct{ name, was, is, want string }{
		// Keys that are not there.
		{"top", "name: try", "nmae: try", `line 1: nmae: is not a key: did you mean "name"?`},
		{"top, like none", "name: try", "colour: red", `line 1: colour: is not a key: what can stand here: candidates, curate, distill, eval, filter, name, prompts, train`},
		{"in prompts", "path: rows", "pth: rows", `line 3: prompts.pth: is not a key: did you mean "path"?`},
		{"in distill", "model: m", "modell: m", `line 7: distill.modell: is not a key: did you mean "model"?`},
		{"in curate", "  select:", "  slect:", `line 14: curate.slect: is not a key: did you mean "select"?`},
		{"in select", "best: 1", "bets: 1", `line 15: curate.select.bets: is not a key: did you mean "best"?`},
		{"in a reward, shared", "weight: 1\n", "wieght: 1\n", `line 12: curate.rewards[0].math.wieght: is not a key: did you mean "weight"?`},
		{"in a reward, its own", "max_tokens: 40", "max_token: 40", `line 13: curate.rewards[1].length.max_token: is not a key: did you mean "max_tokens"?`},
		{"in a filter", "threshold: 0.8", "treshold: 0.8", `line 18: filter[1].minhash.treshold: is not a key: did you mean "threshold"?`},
		{"in a filter without keys", "- truncated", "- truncated: {x: 1}", `line 17: filter[0].truncated.x: is not a key: nothing can stand here`},
		{"in train", "learning_rate", "learning_rte", `line 21: train.learning_rte: is not a key: did you mean "learning_rate"?`},
		{"in train, of SFTConfig", "learning_rate: 1e-3", "pakcing: false", `line 21: train.pakcing: is not a key: did you mean "packing"?`},
		{"in train, like none", "learning_rate: 1e-3", "colour_of_the_sky: blue", `line 21: train.colour_of_the_sky: is not a key: docs/config.md has those that can stand here`},
		{"in data", "learning_rate: 1e-3", "data: {pth: x}", `line 21: train.data.pth: is not a key: did you mean "path"?`},
		{"in eval", "arms:", "armz:", `line 25: eval.armz: is not a key: did you mean "arms"?`},
		{"in eval, of prompts", "path: test", "pth: test", `line 23: eval.pth: is not a key: did you mean "path"?`},
		{"several", "model: m\n  samples: 4", "modell: m\n  samples: many", "line 7: distill.modell: is not a key: did you mean \"model\"?\nline 8: distill.samples: wants a whole number, or {min: 2, max: 16, enough: 1}, not \"many\""},

		// Values of the wrong type.
		{"text for a number", "samples: 4", "samples: many", `line 8: distill.samples: wants a whole number, or {min: 2, max: 16, enough: 1}, not "many"`},
		{"a fraction", "samples: 4", "samples: 1.5", `line 8: distill.samples: wants a whole number, or {min: 2, max: 16, enough: 1}, not "1.5"`},
		{"a quoted number", "learning_rate: 1e-3", "learning_rate: '1e-3'", `line 21: train.learning_rate: wants a number, not "1e-3"`},
		{"a bare number for a duration", "samples: 4", "timeout: 5", `line 8: distill.timeout: wants a duration such as 90s or 5m, not "5"`},
		{"text for a list", "arms: [curated, base]", "arms: curated", `line 25: eval.arms: wants a list, not "curated"`},
		{"a list for text", "model: m", "model: [m]", `line 7: distill.model: wants text, not a list`},
		{"a list for keys", "  path: rows.jsonl\n  reference: answer", "- rows.jsonl", `line 3: prompts: wants keys and values, not a list`},
		{"a list for train's keys", "  student: tiny\n  learning_rate: 1e-3", "- tiny", `line 20: train: wants keys and values, not a list`},
		{"text for keys", "\n    best: 1", " best", `line 14: curate.select: wants keys and values, not "best"`},
		{"a number in a reward", "weight: 1\n", "weight: heavy\n", `line 12: curate.rewards[0].math.weight: wants a number, not "heavy"`},
		{"a number for a reward's keys", "- length: {max_tokens: 40, weight: 0.1}", "- length: 40", `line 13: curate.rewards[1].length: wants keys and values, not "40"`},
		{"two rewards in one", "- length: {max_tokens: 40, weight: 0.1}", "- {length: {}, math: {}}", `line 13: curate.rewards[1]: wants one name, or one name with its options, such as choice or {choice: {}}, not keys and values`},
		{"a list of lists of filters", "- truncated", "- [truncated]", `line 17: filter[0]: wants one name, or one name with its options, such as exact or {exact: {}}, not a list`},
		{"a number in a filter", "threshold: 0.8", "words: few", `line 18: filter[1].minhash.words: wants a whole number, not "few"`},

		// Keys that are there twice.
		{"twice", "model: m", "model: m\n  model: n", `line 8: distill.model: is there twice, first in line 7`},
		{"a section twice", "eval:", "distill: {}\neval:", `line 22: distill: is there twice, first in line 5`},
		{"twice in a reward", "weight: 1\n", "weight: 1\n      weight: 2\n", `line 13: curate.rewards[0].math.weight: is there twice, first in line 12`},
		{"twice in train, of SFTConfig", "learning_rate: 1e-3", "packing: false\n  packing: false", `line 22: train.packing: is there twice, first in line 21`},
		{"twice in a request", "samples: 4", "extra_body: {top_k: 1, top_k: 2}", `line 8: distill.extra_body.top_k: is there twice, first in line 8`},

		// Names that are none.
		{"reward", "- math:\n      weight: 1", "- maths", `line 11: curate.rewards[0]: "maths" is not a reward: did you mean "math"?`},
		{"reward with keys", "- math:", "- sympathy:", `line 11: curate.rewards[0]: "sympathy" is not a reward: what can stand here: ` + rewards},
		{"filter", "- truncated", "- truncate", `line 17: filter[0]: "truncate" is not a filter: did you mean "truncated"?`},
		{"arm", "base]", "bass]", `line 25: eval.arms[1]: "bass" is not an arm: did you mean "base"?`},
		{"arm twice", "base]", "curated]", `line 25: eval.arms[1]: "curated" is there twice: take one out`},
		{"eval's reward", "arms: [curated, base]", "reward: mth", `line 25: eval.reward: "mth" is not a reward: did you mean "math"?`},
		{"eval's reward without its options", "arms: [curated, base]", "reward: regex", `line 25: eval.reward: is "regex", which needs options, and here it has none`},

		// Values that cannot be.
		{"name", "name: try", "name: ../try", `line 1: name: is "../try", which cannot name a folder: use letters, digits, dots, dashes and underscores`},
		{"prompts", "reference: answer\ndistill", "limit: -1\ndistill", `line 4: prompts.limit: is -1: it must be a positive number, or 0 for all`},
		{"a choice", "reference: answer\ndistill", "on_bad_row: stop\ndistill", `line 4: prompts.on_bad_row: is "stop": it must be error or skip`},
		{"a sample", "reference: answer\ndistill", "sample: -1\ndistill", `line 4: prompts.sample: is -1: it must be a positive number, or 0 for all`},
		{"a template beside a column", "reference: answer\ndistill", "template: x\n  prompt: q\ndistill", `line 4: prompts.template: cannot be beside prompt, which names the column of a whole prompt: take one of them out`},
		{"a template's role", "reference: answer\ndistill", "template:\n    usr: x\ndistill", `line 5: prompts.template.usr: is not a role: did you mean "user"?`},
		{"a template's list", "reference: answer\ndistill", "template:\n  - role: user\n    contents: x\ndistill", `line 6: prompts.template[0].contents: is not a key: did you mean "content"?`},
		{"a template's syntax", "reference: answer\ndistill", "template:\n  - {role: system, content: x}\n  - {role: user, content: '{{ q'}\ndistill", `line 6: prompts.template[1]: of the user is no Jinja template: line 1: the template ends within a tag: }} is missing`},
		{"a template that ends with an answer", "reference: answer\ndistill", "template: {user: x, assistant: y}\ndistill", `line 4: prompts.template: ends with the assistant's message, which only few-shot examples have: end with the user's, or add few_shot`},
		{"few_shot", "reference: answer\ndistill", "few_shot: {count: 0,\n    pool: 1}\ndistill", `line 5: prompts.few_shot.pool: is 1: it must be more than count (3), and at most 1000000`},
		{"few_shot's answer", "reference: answer\ndistill", "few_shot: {}\ndistill", `line 4: prompts.few_shot.answer: is missing: name the column of the examples' answers, or give the template a last message of the assistant`},
		{"a path", "path: rows.jsonl", "path: 'hf://x'", `line 3: prompts.path: is "hf://x": a dataset is named as hf://datasets/OWNER/NAME/CONFIG/SPLIT, or hf://datasets/OWNER/NAME@REVISION/FILE-OR-GLOB`},
		{"paths", "path: rows.jsonl", "path: [a, '[']", `line 3: prompts.path[1]: is "[", which is no glob: a bracket or a brace is not closed`},
		{"growth's target", "reference: answer\ndistill", "grow: {}\ndistill", `line 4: prompts.grow.target: is 0: say how many prompts to grow, such as target: 1000`},
		{"growth's method", "reference: answer\ndistill", "grow: {target: 5,\n    method: evolve}\ndistill", `line 5: prompts.grow.method: is "evolve": it must be self-instruct or magpie`},
		{"growth of nothing", "  path: rows.jsonl\n", "  grow: {target: 5}\n", `line 2: prompts.path: is missing: name a JSONL or Parquet file, or a dataset of the Hub as hf://datasets/OWNER/NAME`},
		{"mode", "samples: 4", "mode: bulk", `line 8: distill.mode: is "bulk": it must be online or batch`},
		{"batches", "samples: 4", "batch: {max_requests: -4}", `line 8: distill.batch.max_requests: is -4: it must be 1 to 10000000`},
		{"distill", "samples: 4", "samples: -1", `line 8: distill.samples: is -1: it must be 1 to 1024`},
		{"distill, zero", "samples: 4", "samples: 0", `line 8: distill.samples: is 0: it must be 1 or more`},
		{"endpoint", "http://127", "ftp://127", `line 6: distill.endpoint: is not an http or https URL: give one such as http://127.0.0.1:8000/v1, or "embedded"`},
		{"a request's field", "samples: 4", "extra_body: {top_k: 1,\n    n: 4}", `line 9: distill.extra_body.n: has a key of its own: use distill.samples instead`},
		{"select", "best: 1", "best: -1", `line 15: curate.select.best: is -1: it must be 1 or more`},
		{"weight", "weight: 1\n", "weight: .nan\n", `line 12: curate.rewards[0].math.weight: is NaN: it must be a finite number`},
		{"length", "max_tokens: 40", "max_tokens: -40", `line 13: curate.rewards[1].length.max_tokens: is -40: it must be 0 or more`},
		{"a reward that needs options", "- length: {max_tokens: 40, weight: 0.1}", "- length", `line 13: curate.rewards[1].length: neither max_tokens nor min_tokens is set: set one, such as max_tokens: 512`},
		{"two of one name", "- length: {max_tokens: 40, weight: 0.1}", "- math", `line 13: curate.rewards[1]: is named "math", as another one is: give it a name of its own, such as {math: {name: math2}}`},
		{"no rewards", "  rewards:\n  - math:\n      weight: 1\n  - length: {max_tokens: 40, weight: 0.1}", "  rewards: []", `line 10: curate.rewards: is empty: name one, such as rewards: [math]; there are ` + rewards},
		{"filter's value", "threshold: 0.8", "threshold: 2", `line 18: filter[1].minhash.threshold: is 2: it must be above 0 and at most 1`},
		{"several in lists", "max_tokens: 40", "max_tokens: -40, wight: 1", `line 13: curate.rewards[1].length.wight: is not a key: did you mean "weight"?`},
		{"train", "learning_rate: 1e-3", "learning_rate: -1", `line 21: train.learning_rate: is -1: it must be 0 or above`},
		{"train's 0", "learning_rate: 1e-3", "num_train_epochs: 0", `line 21: train.num_train_epochs: is 0: it must be above 0`},
		{"train's choice", "learning_rate: 1e-3", "optim: sgd", `line 21: train.optim: is "sgd": it must be adamw_torch_fused or adamw_torch`},
		{"refused", "learning_rate: 1e-3", "shuffle_dataset: true", `line 21: train.shuffle_dataset: is true, which is not done here: the rows are not shuffled before the first epoch; every epoch visits them in an order of its own; leave it out or write false`},
		{"train's rows", "learning_rate: 1e-3", "data: {limit: 1,\n    path: rows.jsonl}", `line 21: train.data: is not for a run, which trains on what it kept: take this key out, or use ` + "`stillhouse train`"},
		{"eval's samples", "arms: [curated, base]", "samples: -3", `line 25: eval.samples: is -3: it must be from 1 to 1000`},
		{"eval's limit", "arms: [curated, base]", "limit: -3", `line 25: eval.limit: is -3: it must be a positive number, or 0 for all`},
		{"eval's weights", "arms: [curated, base]", "weights: q4_0", `line 25: eval.weights: is "q4_0": it can be f32, bf16 or q8_0`},
		{"eval's temperature", "arms: [curated, base]", "temperature: 0", `line 25: eval.temperature: is 0: it must be above 0; the greedy answer is asked for in any case`},
		{"eval without train", "train:\n  student: tiny\n  learning_rate: 1e-3\n", "", `line 19: eval: has no student to ask: add train, or take eval out`},

		// What is missing.
		{"prompts' path", "  path: rows.jsonl\n", "", `line 2: prompts.path: is missing: name a JSONL or Parquet file, or a dataset of the Hub as hf://datasets/OWNER/NAME`},
		{"the section distill", "distill:\n  endpoint: http://127.0.0.1:9/v1\n  model: m\n  samples: 4\n", "", `line 1: distill.endpoint: is missing: give the base URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1, or "embedded"`},
		{"prompts with nothing in it", "  path: rows.jsonl\n  reference: answer\n", "", `line 2: prompts.path: is missing: name a JSONL or Parquet file, or a dataset of the Hub as hf://datasets/OWNER/NAME`},
		{"train with nothing in it", "  student: tiny\n  learning_rate: 1e-3\n", "", `line 19: train.student: is missing: name the model to train, a directory or a name on the Hub`},
		{"eval with nothing in it", "  path: test.jsonl\n  reference: answer\n  arms: [curated, base]\n", "", `line 22: eval.path: is missing: name a JSONL or Parquet file, or a dataset of the Hub as hf://datasets/OWNER/NAME`},
		{"eval's reference", "  path: test.jsonl\n  reference: answer", "  path: test.jsonl", `line 22: eval.reference: is missing: name the column with the right answers`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(wellFormed, c.was) != 1 {
				t.Fatalf("%q is there %d times", c.was, strings.Count(wellFormed, c.was))
			}
			wrongly(t, func(path string) error { _, err := Load(path); return err }, strings.Replace(wellFormed, c.was, c.is, 1), c.want)
		})
	}
}

func TestWrongTraining(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\ntrain: {student: tiny}\ncurate: {}":     `line 3: curate: is not a key: what can stand here: name, train`,
		"train:\n  student: tiny":                         `line 1: train.data.path: is missing: say which rows to train on, as data: {path: rows.jsonl}`,
		"train:\n  student: tiny\n  data:\n    limit: 1":  `line 3: train.data.path: is missing: say which rows to train on, as data: {path: rows.jsonl}`,
		"train:\n  student: tiny\n  data:\n    limit: -1": `line 4: train.data.limit: is -1: it must be 0 or above`,
		"train:": `line 1: train.student: is missing: name the model to train, a directory or a name on the Hub`,
		"train:\n  student: tiny\n  bf16: true\n  shuffle_dataset: true": "line 3: train.bf16: is true, which is not done here: training is in float32; leave it out or write false\nline 4: train.shuffle_dataset: is true, which is not done here: the rows are not shuffled before the first epoch; every epoch visits them in an order of its own; leave it out or write false",
		"- train": `line 1: wants keys and values, not a list`,
		"train: &t\n  student: tiny\n  adam_beta1: 2\nname: good": `line 3: train.adam_beta1: is 2: it must be from 0 to below 1`,
	} {
		wrongly(t, func(path string) error { _, err := LoadTraining(path); return err }, text, want)
	}
}

func TestUnknownStep(t *testing.T) {
	c, err := Load(writeConfig(t, wellFormed))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(context.Background(), c, RunOptions{From: "filtre"})
	if err == nil || err.Error() != `--from filtre: there is no such step: did you mean "filter"?` || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Error(err)
	}
}

// The prompts' options name the section that they stand in also when the file is read.
func TestEvalFileNamesItsSection(t *testing.T) {
	rows := writeConfig(t, `{"prompt": "1+1?", "answer": "2"}`+"\n")
	c, err := Load(writeConfig(t, strings.NewReplacer("rows.jsonl", rows, "test.jsonl", rows+".gone").Replace(wellFormed)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "eval.path") || !strings.Contains(err.Error(), rows+".gone") {
		t.Error(err)
	}
	c.Prompts.Reference = ""
	if err := c.Check(context.Background()); err == nil || !strings.HasPrefix(err.Error(), `prompts.reference: is missing: reward "math" compares with it`) {
		t.Error(err)
	}
}

// A config that was resolved and written is the same config when it is read again, with every default in it.
func TestConfigRoundTrip(t *testing.T) {
	const least = "prompts: {path: p.jsonl, reference: a}\ndistill: {endpoint: embedded, model: m}\ncurate: {rewards: [math]}\n"
	for name, text := range map[string]string{
		"with a template": strings.Replace(least, "path: p.jsonl", "path: [a/*.parquet, 'hf://datasets/o/n/c/s'], template: {system: S, user: 'U {{ q }}', assistant: '{{ a }}'}, few_shot: {count: 2}, sample: 9, shuffle: true", 1),
		"with growth":     strings.Replace(least, "reference: a", "reference: a, grow: {target: 9, near: minhash, forbidden: []}", 1),
		"of nothing":      strings.Replace(least, "path: p.jsonl, reference: a", "grow: {method: magpie, target: 9, via: chat, system: S}", 1),
		"with an adapter": least + "train: {student: m, peft: }\n", "with adapters": least + "train: {student: m, init_adapter: a, peft: {use_dora: true, target_modules: [q_proj], layers_to_transform: [0, 1]}}\n",
		"least": least, "with train": least + "train: {student: m}\n", "with empty lists": least + "filter: []\ntrain: {student: m, questions: []}\neval: {path: p, reference: a, arms: [], meta: []}\n",
		"whole": wellFormed,
		"zeros": strings.NewReplacer("samples: 4", "temperature: 0\n  seed: -1\n  max_retries: 0\n  api_key_env: ''\n  extra_body: {}\n  stop: ['#']\n  timeout: 90s",
			"learning_rate: 1e-3", "learning_rate: 0\n  max_length: null\n  pad_to_multiple_of: auto\n  packing: false\n  gradient_checkpointing: false", "weight: 1\n", "weight: 0\n").Replace(wellFormed),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(writeConfig(t, text))
			if err != nil {
				t.Fatal(err)
			}
			resolved, err := c.Resolved()
			if err != nil {
				t.Fatal(err)
			}
			again, err := Load(writeConfig(t, string(resolved)))
			if err != nil {
				t.Fatalf("%v:\n%s", err, resolved)
			}
			if d := cmp.Diff(c, again, cmpopts.IgnoreUnexported(Config{})); d != "" {
				t.Error(d)
			}
			twice, err := again.Resolved()
			if err != nil || string(twice) != string(resolved) {
				t.Errorf("%v: written otherwise:\n%s", err, cmp.Diff(string(resolved), string(twice)))
			}
		})
	}
	c, err := Load(writeConfig(t, strings.NewReplacer("learning_rate: 1e-3", "learning_rate: 1e-3\n  peft: {}",
		"reference: answer\ndistill", "reference: answer\n  few_shot: {}\n  grow: {target: 1}\ndistill", "reference: answer\n  arms", "reference: answer\n  few_shot: {}\n  arms").Replace(wellFormed)))
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := c.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	full := &Config{Train: &train.Options{PEFT: &train.PEFT{}}, Eval: &EvalOptions{Rows: prompts.Rows{FewShot: &prompts.FewShot{}}}}
	full.Prompts.FewShot, full.Prompts.Grow = &prompts.FewShot{}, &grow.Options{}
	full.EnsureDefaults()
	said := []string{"distill.api_key_env", "distill.concurrency", "distill.samples", "distill.samples.min", "distill.samples.enough", "train.learning_rate"} // by the config, or by its endpoint
	for _, e := range options.Describe(full) {
		line := e.Key[strings.LastIndex(e.Key, ".")+1:] + ": " + e.Default + "\n"
		if e.Type == "keys and values" { // which stand below their key
			line = " " + e.Default + "\n"
		}
		if e.Default != "" && !slices.Contains(said, e.Key) && !strings.Contains(e.Key, "[]") && // of a list's items, of which there are none
			!strings.Contains(string(resolved), line) {
			t.Errorf("%s: its default %s is not in\n%s", e.Key, e.Default, resolved)
		}
	}
	weight := 0.1
	if e := c.Curate.Rewards[1]; *e.Weight != weight || e.Name != "length" || e.Timeout != 5 || cmp.Diff(e.Options, reward.Options(&reward.Length{MaxTokens: 40})) != "" {
		t.Errorf("%+v", e)
	}
}
