package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/curate/reward"
	"stillhouse/internal/chat"
	"stillhouse/internal/rundir"
	"stillhouse/internal/testkit"
)

var numbered = regexp.MustCompile(`numbered (\d+) to (\d+)`)

// writesTasks answers requests for new tasks with a list of them, about subjects that follow from the seed, and all else with
// some words.
func writesTasks(c testkit.Call) testkit.Choice {
	found := numbered.FindStringSubmatch(c.Prompt())
	if found == nil {
		if c.Text != "" {
			return testkit.Choice{Content: fmt.Sprintf("How did region%[1]d and river%[1]d and ruler%[1]d meet?", *c.Seed+int64(c.Sample))}
		}
		return testkit.Prose(c)
	}
	first, _ := strconv.Atoi(found[1])
	last, _ := strconv.Atoi(found[2])
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "%d. Explain why subject%d%d needs care%d%d in week%d%d\n", i, *c.Seed, i, *c.Seed, i, *c.Seed, i)
	}
	return testkit.Choice{Content: b.String() + "END", Tokens: 50}
}

// seedFile writes ten tasks.
func seedFile(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, `{"instruction":"Write about theme%d and mood%d for hour%d","input":""}`+"\n", i, i, i)
	}
	path := filepath.Join(dir, "seeds.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func grownConfig(t *testing.T, dir, url, prompts string) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grown.yaml")
	text := "prompts: " + prompts + "\ndistill: {endpoint: '" + url + "', model: m, samples: 2, max_tokens: 40, store: '" + filepath.Join(dir, "store.db") + "'}\ncurate: {rewards: [{length: {max_tokens: 40}}]}\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rowsOf reads the prompts of a run.
func rowsOf(t *testing.T, dir string) (out []stillhouse.Prompt) {
	t.Helper()
	source, err := rundir.ReadShards(filepath.Join(dir, "grown", "prompts"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range source.Shards() {
		batch, err := source.Read(context.Background(), i, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := stillhouse.Prompts(batch)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rows...)
	}
	return out
}

func runIn(t *testing.T, c *Config, dir, from string) (*Report, string, error) {
	t.Helper()
	var out bytes.Buffer
	r, err := Run(context.Background(), c, RunOptions{Runs: dir, From: from, UI: UI{Out: &out}})
	return r, out.String(), err
}

func TestGrownRun(t *testing.T) {
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: writesTasks})
	c := grownConfig(t, dir, teacher.URL(), "{path: '"+seedFile(t, dir)+"', template: '{{ instruction }}{% if input %} {{ input }}{% endif %}', grow: {target: 300, round: 8}}")
	plan, err := MakePlan(context.Background(), c, PlanOptions{Runs: dir})
	if err != nil || plan.Prompts != 310 || plan.Grown != 300 {
		t.Fatalf("%+v, %v", plan, err)
	}
	report, text, err := runIn(t, c, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"prompts  10 rows of", "grow     304 rows in, 300 kept, 4 dropped (beyond_target 4)", "grow     38 requests, 0 answers from the response store"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	rows := rowsOf(t, dir)
	if len(rows) != 310 || rows[10].Source != "self-instruct" {
		t.Fatalf("%d prompts", len(rows))
	}
	known := map[string]bool{}
	for i, p := range rows {
		var m struct{ Parent []string }
		if i >= 10 {
			if err := json.Unmarshal([]byte(*p.Meta), &m); err != nil || len(m.Parent) != 8 {
				t.Fatalf("%s: %v", *p.Meta, err)
			}
		}
		for _, id := range m.Parent {
			if !known[id] {
				t.Fatalf("the parent %s of prompt %d stands not before it", id, i)
			}
		}
		known[p.ID] = true
	}
	if a := report.Ledger["prompts"]; a.In != 314 || a.Kept != 310 || a.Dropped["beyond_target"] != 4 {
		t.Errorf("%+v", a)
	}
	source, err := rundir.ReadShards(filepath.Join(dir, "grown", "dropped", "prompts"))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := source.Read(context.Background(), 0, memory.DefaultAllocator)
	if err != nil || batch.NumRows() != 4 {
		t.Fatal(err)
	}
	dropped, _ := batch.Column(batch.Schema().FieldIndices("prompt")[0]).MarshalJSON()
	if !strings.Contains(string(dropped), `"content":"Explain why subject`) {
		t.Errorf("what was dropped is not told: %s", dropped)
	}

	// A second run of the same config asks nothing; one that begins again with distill leaves the prompts as they are.
	asked := teacher.Requests()
	if _, _, err := runIn(t, c, t.TempDir(), ""); err != nil || teacher.Requests() != asked {
		t.Errorf("%v, %d requests more", err, teacher.Requests()-asked)
	}
	c.Distill.Model = "another"
	_, text, err = runIn(t, c, dir, "distill")
	if err != nil || strings.Contains(text, "grow ") {
		t.Errorf("%v: %s", err, text)
	}
	if d := cmp.Diff(rows, rowsOf(t, dir)); d != "" {
		t.Error(d)
	}
}

// Growth that is stopped begins anew, and is at once where it was.
func TestGrowthGoesOn(t *testing.T) {
	whole := t.TempDir()
	quiet := testkit.StartTeacher(t, &testkit.Teacher{Answer: writesTasks})
	dir := t.TempDir()
	seeds := seedFile(t, dir)
	config := "{path: '" + seeds + "', prompt: instruction, grow: {target: 150, round: 4, keep_seeds: false}}"
	if _, _, err := runIn(t, grownConfig(t, whole, quiet.URL(), config), whole, ""); err != nil {
		t.Fatal(err)
	}
	stop := true
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: writesTasks, Fault: func(c testkit.Call) *testkit.Fault {
		if stop && c.Number == 10 {
			return testkit.Status(401, "", "")
		}
		return nil
	}})
	c := grownConfig(t, dir, teacher.URL(), config)
	c.Distill.Identity = strings.TrimPrefix(quiet.URL(), "http://")
	if _, _, err := runIn(t, c, dir, ""); err == nil || !strings.Contains(err.Error(), "grow prompts: ") {
		t.Fatal(err)
	}
	stop = false
	if _, _, err := runIn(t, c, dir, ""); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rowsOf(t, whole), rowsOf(t, dir)); d != "" {
		t.Error(d)
	}
	if n := teacher.Resent(); n != 0 {
		t.Errorf("%d requests were sent again after they had been answered", n)
	}
	if rows := rowsOf(t, dir); len(rows) != 150 || rows[0].Source != "self-instruct" {
		t.Errorf("%d prompts", len(rows))
	}
}

func TestGrownOfNothing(t *testing.T) {
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: writesTasks})
	c := grownConfig(t, dir, teacher.URL(), "{grow: {method: magpie, tokenizer: ../testdata/models/demo-base, target: 40}}")
	if _, _, err := runIn(t, c, dir, ""); err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(t, dir)
	if len(rows) != 40 || rows[0].Source != "magpie" || !strings.HasPrefix(rows[0].Prompt[0].Content, "How did region") {
		t.Fatalf("%d prompts, %+v", len(rows), rows[0])
	}
	call := teacher.Calls()[0]
	if len(call.Messages) > 0 || !strings.Contains(call.Text, "user") {
		t.Errorf("%s", call.Body)
	}
}

func TestWhatGrowthNeeds(t *testing.T) {
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	seeds := seedFile(t, dir)
	for prompts, want := range map[string]string{
		"{path: '" + seeds + "', prompt: instruction, limit: 3, grow: {target: 9}}":   "there are 3 seed tasks in prompts.path, and a request shows 6",
		"{path: '" + seeds + "', prompt: name, grow: {target: 9}}":                    `there is no column "name" (prompts.prompt): the columns there are input, instruction`,
		"{path: '" + seeds + "', prompt: input, on_bad_row: skip, grow: {target: 9}}": "none of the 10 rows",
		"{path: none.jsonl, grow: {target: 9}}":                                       "there is no file none.jsonl",
		"{grow: {method: magpie, tokenizer: none/at/all, target: 9}}":                 "prompts.grow.tokenizer: there is no directory none/at/all",
	} {
		c := grownConfig(t, dir, teacher.URL(), prompts)
		if _, _, err := runIn(t, c, t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), want) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%v, not %s", err, want)
		}
	}
	c := grownConfig(t, dir, teacher.URL(), "{path: '"+seeds+"', prompt: instruction, grow: {target: 9}}")
	c.Curate = curate.Config{Rewards: []reward.Entry{{Kind: "math"}}}
	c.EnsureDefaults()
	if _, _, err := runIn(t, c, t.TempDir(), ""); err == nil || err.Error() != `prompts.grow: makes prompts without a right answer, and reward "math" compares with one: take one of them out` {
		t.Error(err)
	}
	if teacher.Requests() != 0 {
		t.Error("something was asked")
	}
}

// What stands around a user's turn is what the models' own templates put there.
func TestAroundUser(t *testing.T) {
	load := func(template, bos string) *chat.Tokenizer {
		tk, err := chat.Load("../testdata/models/demo-base")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tk.Close() })
		if template != "" {
			tk.SetTemplate(template)
		}
		return tk
	}
	const chatML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
	for name, c := range map[string]struct{ template, system, before, after string }{
		"ChatML":        {chatML, "", "<|im_start|>user\n", "<|im_end|>"},
		"with a system": {chatML, "Be brief.", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n", "<|im_end|>"},
		"Llama 2":       {"{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}", "", "[INST] ", "[/INST]"},
	} {
		before, after, err := aroundUser(load(c.template, ""), c.system)
		if err != nil || before != c.before || after != c.after {
			t.Errorf("%s: %q %q %v", name, before, after, err)
		}
	}
	if _, _, err := aroundUser(load("{{ messages[0].content }}", ""), ""); err == nil || !strings.Contains(err.Error(), "give prompts.grow.pre_query") {
		t.Error(err)
	}
}

// A run whose answers come by batches is the run whose answers come one by one.
func TestRunInBatches(t *testing.T) {
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	c := grownConfig(t, dir, teacher.URL(), "{path: '"+seedFile(t, dir)+"', prompt: instruction}")
	c.Distill.Mode = "batch"
	_, text, err := runIn(t, c, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := teacher.BatchLines(); len(n) != 1 || n[0] != 10 {
		t.Errorf("batches of %v requests", n)
	}
	if !strings.Contains(text, "batch batch_0 is completed: 10 of 10 requests answered") {
		t.Error(text)
	}
	c.Distill.Mode = "online" // how answers come may change while a run goes on
	if _, _, err := runIn(t, c, dir, ""); err != nil {
		t.Error(err)
	}
	if n := teacher.Resent(); n != 0 {
		t.Errorf("%d requests again", n)
	}
}

// A target is reached by batches in waves; a higher one goes on from there, and single requests find what batches brought.
func TestTargetInBatches(t *testing.T) {
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	c := grownConfig(t, dir, teacher.URL(), "{path: '"+seedFile(t, dir)+"', prompt: instruction}")
	c.Distill.Mode, c.Distill.Target.Accepted = "batch", 3
	for _, step := range []struct {
		mode             string
		target, requests int
	}{{"batch", 3, 3}, {"batch", 7, 7}, {"online", 5, 7}, {"batch", 0, 10}} {
		c.Distill.Mode, c.Distill.Target.Accepted = step.mode, step.target
		report, text, err := runIn(t, c, dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if n := teacher.Requests(); n != step.requests {
			t.Errorf("%+v: %d requests", step, n)
		}
		a := report.Ledger["distill"]
		if want := int64(2 * (10 - step.target)); step.target > 0 && a.Unasked["target_reached"] != want {
			t.Errorf("%+v: %+v", step, a)
		}
		if step.mode == "batch" && step.target > 0 && !strings.Contains(text, fmt.Sprintf("of %d rows are accepted", step.target)) {
			t.Errorf("%+v: %s", step, text)
		}
	}
	if n := teacher.Resent(); n != 0 {
		t.Errorf("%d requests again", n)
	}
}
