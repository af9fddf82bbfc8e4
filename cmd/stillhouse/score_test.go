package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"stillhouse/internal/testkit"
)

// lines are the lines of output, each checked against the schema in docs/curate.md, as id, verdict and score.
func lines(t *testing.T, stdout string) (out []string) {
	t.Helper()
	schema := scoreSchema(t)
	for line := range strings.Lines(stdout) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		m := value.(map[string]any)
		out = append(out, fmt.Sprintf("%v %v %v", m["id"], m["verdict"], m["score"]))
	}
	return out
}

// scoreSchema is the JSON schema of a line of output in docs/curate.md.
func scoreSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	page, err := os.ReadFile("docs/curate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```json schema\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/curate.md has no JSON schema of the output")
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("score.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("score.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestScore(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	rows := write(t, dir, "rows.jsonl", `{"id": "a", "reference": "12", "completion": "#### 12"}
{"id": 7, "reference": 12, "completion": [{"role": "assistant", "content": "The answer is 13."}]}

{"reference": "x\u0000", "id": "<b>", "completion": {"role": "assistant", "content": "no idea"}, "tests": ["t"]}
`)
	code, stdout, stderr := cli(t, "score", "--reward", "math", rows)
	if want := []string{"a right 1", "7 wrong 0", "<b> unparsable 0"}; code != 0 || cmp.Diff(want, lines(t, stdout)) != "" {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if !strings.Contains(stdout, `"id":7,`) || !strings.Contains(stdout, `"id":"<b>"`) || !strings.Contains(stdout, `"evidence":"read 12 from`) {
		t.Errorf("ids come as they are: %s", stdout)
	}
	if want := "3 rows of " + rows + " scored by math: 1 right, 1 wrong, 1 unparsable; mean score 0.3333."; !strings.Contains(stderr, want) {
		t.Errorf("%q is not %q", stderr, want)
	}

	other := write(t, dir, "other.jsonl", `{"answer": "12", "response": "#### 12", "n": 40}`+"\n"+`{"answer": "12", "response": "#### 1", "n": 50}`+"\n")
	code, stdout, stderr = cli(t, "score", "--reward", "length", "--options", `{"max_tokens": 40}`, "--column", "tokens=n", "--column", "completion=response", "--column", "id=", other)
	if want := []string{"1 right 1", "2 wrong 0.75"}; code != 0 || cmp.Diff(want, lines(t, stdout)) != "" {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// Rows of one id are candidates for one prompt where a reward judges them together, and how many there are may vary.
func TestScoreGroups(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	var b strings.Builder
	var want []string
	for p := range 700 { // in several pieces
		k := 1 + p%4
		for s := range k {
			answer, verdict := 5, "right 1"
			if s == 1 {
				answer, verdict = 6, "wrong 0"
			}
			fmt.Fprintf(&b, `{"id": %d, "completion": "#### %d"}`+"\n", p, answer)
			want = append(want, fmt.Sprintf("%d %s", p, verdict))
		}
	}
	code, stdout, stderr := cli(t, "score", "--reward", "majority", write(t, dir, "rows.jsonl", b.String()))
	if d := cmp.Diff(want, lines(t, stdout)); code != 0 || d != "" {
		t.Errorf("exit code %d: %s%s", code, d, stderr)
	}
	apart := write(t, dir, "apart.jsonl", `{"id": 1, "completion": "#### 1"}`+"\n"+`{"id": 2, "completion": "#### 1"}`+"\n"+`{"id": 1, "completion": "#### 1"}`+"\n")
	code, _, stderr = cli(t, "score", "--reward", "majority", apart)
	if code != exitInput || !strings.Contains(stderr, apart+": line 3: the id 1 came before, with others between") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, stdout, _ = cli(t, "score", "--reward", "length", "--options", `{"min_tokens": 1}`, apart); code != 0 || len(lines(t, stdout)) != 3 {
		t.Errorf("rewards that judge rows one by one want no order: exit code %d", code)
	}
}

func TestScoreWrongInput(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	good := write(t, dir, "good.jsonl", `{"id": 1, "reference": "1", "completion": "#### 1"}`+"\n")
	for _, tc := range []struct {
		name, rows, args, want string
		lines                  int
	}{
		{"no reward", "", "", "--reward is missing: name one of ", 0},
		{"unknown reward", "", "--reward mathe", `--reward mathe: there is no such reward: did you mean "math"?`, 0},
		{"unknown option", "", `--reward length --options {"max_token":3}`, `--options: length.max_token: is not a key: did you mean "max_tokens"?`, 0},
		{"wrong option", "", `--reward length --options {"max_tokens":-3}`, `length.max_tokens: is -3: it must be 0 or more`, 0},
		{"missing option", "", `--reward length`, `length: neither max_tokens nor min_tokens is set`, 0},
		{"options no object", "", `--reward length --options [1]`, `--options [1]: it is not a JSON object`, 0},
		{"unknown field", "", `--reward math --column complettion=x`, `--column complettion=…: there is no such field: did you mean "completion"?`, 0},
		{"no column", "", `--reward math --column completion`, `write FIELD=COLUMN`, 0},
		{"no file", "", "--reward math " + filepath.Join(dir, "none"), "there is no file", 0},
		{"empty file", "\n", "--reward math", "has no rows", 0},
		{"reference column missing", `{"id": 1, "answer": "1", "completion": "#### 1"}`, "--reward math",
			`there is no column "reference", and reward math compares with a reference answer: there are answer, completion, id; name it as --column reference=NAME`, 0},
		{"reference column empty", `{"id": 1, "reference": null, "completion": "#### 1"}` + "\n" + `{"id": 1, "reference": " ", "completion": "#### 1"}`, "--reward math",
			`column "reference" is empty in all of 2 rows`, 0},
		{"no completion", `{"id": 1, "reference": "1", "response": "x"}`, "--reward math",
			`FILE: line 1: there is no completion in column "completion": name the column as --column completion=NAME; there are id, reference, response`, 0},
		{"no prompt id", `{"id": null, "reference": "1", "completion": "#### 1"}`, "--reward math", `FILE: line 1: there is no id in column "id"`, 0},
		{"id is a list", `{"id": [1], "reference": "1", "completion": "#### 1"}`, "--reward math", `FILE: line 1: column "id": it is a list: an id is a text or a number`, 0},
		{"tokens", `{"id": 1, "tokens": "many", "completion": "#### 1"}`, `--reward length --options {"max_tokens":3}`, `column "tokens": it is a text: it must be a whole number`, 0},
		{"log-probabilities", `{"id": 1, "logprobs": [-1, "x"], "completion": "#### 1"}`, "--reward likelihood", `column "logprobs": item 2 is a text`, 0},
		{"mixed schemas", `{"id": 1, "reference": "1", "completion": "#### 1"}` + "\n" + `{"id": 2, "reference": 1, "completion": [{"role": "user", "content": "?"}]}` + "\n" + `{"id": "3", "reference": true, "completion": [{"role": "assistant", "content": "#### 1"}]}` + "\n" + `[1]`, "--reward math",
			`FILE: line 2: column "completion": there is no message of the assistant among 1`, 2},
		{"invalid UTF-8", `{"id": 1, "reference": "1", "completion": "#### 1"}` + "\n" + "{\"id\": 2, \"completion\": \"\xff\"}", "--reward math", "FILE: line 2: the line is not valid UTF-8", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := good
			if tc.rows != "" {
				path = write(t, dir, "rows.jsonl", tc.rows)
			}
			args := append([]string{"score"}, strings.Fields(tc.args)...)
			if tc.name != "no file" {
				args = append(args, path)
			}
			code, stdout, stderr := cli(t, args...)
			if want := strings.ReplaceAll(tc.want, "FILE", path); code != exitInput || !strings.Contains(stderr, want) || strings.Count(stdout, "\n") != tc.lines {
				t.Errorf("exit code %d, %d lines: %s\nwant %s", code, strings.Count(stdout, "\n"), stderr, want)
			}
			lines(t, stdout)
		})
	}

	half := write(t, dir, "half.jsonl", `{"id": 1, "reference": "1", "completion": "#### 1"}`+"\n"+`{"id": 2, "completion": "#### 1"}`+"\n")
	code, stdout, stderr := cli(t, "score", "--reward", "math", half)
	if want := []string{"1 right 1", "2 unparsable 0"}; code != 0 || cmp.Diff(want, lines(t, stdout)) != "" ||
		!strings.HasPrefix(stderr, half+`: 1 of 2 rows have no reference answer in column "reference": reward math will find them unparsable`) {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestScoreLargeRows has answers of 10 MB between small ones: memory is that of a few of them, not of all.
func TestScoreLargeRows(t *testing.T) {
	inProject(t)
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const large = 30
	answer := strings.Repeat("and so on ", 1<<20)
	for i := range large {
		_, err = fmt.Fprintf(f, `{"id": %d, "reference": "4", "completion": "%s#### 4"}`+"\n"+`{"id": "s%d", "reference": "4", "completion": "#### 4"}`+"\n", i, answer, i)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	most := &peak{}
	var said bytes.Buffer
	if code := execute(t.Context(), []string{"score", "--reward", "math", path}, most, &said); code != 0 || most.lines != 2*large || most.right != 2*large {
		t.Fatalf("exit code %d, %d lines, %d right: %s", code, most.lines, most.right, &said)
	}
	if all := uint64(large * len(answer)); most.bytes > all/2 {
		t.Errorf("%d MiB live, of %d MiB of answers", most.bytes>>20, all>>20)
	}
}

// A peak counts lines, and measures the live memory when they come.
type peak struct {
	bytes        uint64
	lines, right int
}

func (p *peak) Write(b []byte) (int, error) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	p.bytes = max(p.bytes, m.HeapAlloc)
	p.lines += bytes.Count(b, []byte("\n"))
	p.right += bytes.Count(b, []byte(`"verdict":"right"`))
	return len(b), nil
}

// fullDisk is a stdout that cannot be written.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestScoreToAFullDisk(t *testing.T) {
	inProject(t)
	rows := write(t, t.TempDir(), "rows.jsonl", `{"id": 1, "reference": "1", "completion": "#### 1"}`+"\n")
	var said bytes.Buffer
	if code := execute(t.Context(), []string{"score", "--reward", "math", rows}, fullDisk{}, &said); code != exitFailed || !strings.Contains(said.String(), "no space left") {
		t.Errorf("exit code %d: %s", code, &said)
	}
}

// TestScoreOfARun scores a run's shards of candidates, whose columns need no mapping: it says what the run's own scores say.
func TestScoreOfARun(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := write(t, dir, "compared.yaml", fmt.Sprintf(`
prompts: {path: %s, prompt: q, reference: a}
distill: {endpoint: %q, model: scripted, samples: 4, max_tokens: 40}
curate: {rewards: [math, {math: {name: again, cache: true}}, majority, {length: {max_tokens: 40}}], combine: lexicographic, select: {min_reward: 1}}
`, problems(t, dir, "prompts.jsonl", 10, 24), teacher.URL()))
	if code, _, stderr := cli(t, "run", config, "--runs", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	run := filepath.Join(dir, "compared")
	code, stdout, stderr := cli(t, "inspect", run, "--rows", "scored", "--limit", "1000", "--json")
	var in struct {
		Rows []struct {
			ID     string `json:"prompt_id"`
			Reward float64
			Scores []struct {
				Name, Verdict string
				Score         float64
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &in); err != nil || code != 0 || len(in.Rows) != 96 {
		t.Fatalf("exit code %d: %v: %d rows: %s", code, err, len(in.Rows), stderr)
	}
	shard := filepath.Join(run, "candidates", "part-00000.parquet")
	for place, reward := range []string{"math", "", "majority"} {
		if reward == "" {
			continue
		}
		var want []string
		for _, r := range in.Rows {
			want = append(want, fmt.Sprintf("%s %s %v", r.ID, r.Scores[place].Verdict, r.Scores[place].Score))
		}
		code, stdout, stderr := cli(t, "score", "--reward", reward, shard)
		if d := cmp.Diff(want, lines(t, stdout)); code != 0 || d != "" {
			t.Errorf("%s: exit code %d: %s%s", reward, code, d, stderr)
		}
	}
	// A reward is not asked while the teacher is, where another one judges the candidates together; math and itself agree.
	_, stdout, _ = cli(t, "report", run)
	for _, want := range []string{"Rewards compared, by candidates:", "│ math     │ again    │", "They disagree first on prompt ", "math wrong (read "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	_, stdout, _ = cli(t, "report", run, "--json")
	var report struct {
		Selection struct {
			Pairs []struct {
				A, B          string
				Counts        map[string]map[string]int
				Disagreements int
				Examples      []struct {
					A, B struct{ Verdict, Evidence string }
				}
			}
		}
	}
	decode(t, stdout, &report)
	pairs := report.Selection.Pairs
	if len(pairs) != 6 || pairs[0].Disagreements != 0 || pairs[0].Counts["right"]["right"]+pairs[0].Counts["wrong"]["wrong"] != 96 || len(pairs[1].Examples) == 0 || pairs[1].Examples[0].A.Evidence == "" {
		t.Errorf("%+v", pairs)
	}
	store := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "stillhouse", "responses.db")
	if code, stdout, stderr := cli(t, "store", "--store", store, "stats"); code != 0 || !strings.Contains(stdout, "of math") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}
