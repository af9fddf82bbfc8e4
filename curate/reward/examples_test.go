package reward

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// An exampleFile is what docs/curate.md says of one kind of reward: testdata/examples/KIND.yaml.
type exampleFile struct {
	Says     string
	Examples []example
}

// An example is a row and what the rewards say of it.
type example struct {
	Reward  Entry
	Before  []Entry  // rewards that stand before it in the config
	Judge   []string // what a scripted model answers, by turns
	Needs   string   // a program without which it cannot run
	Prompt  string
	Tools   string
	Meta    string
	Row     struct{ Reasoning, ToolCalls string }
	Tokens  int32
	LogProb []float64 // of the completion's tokens
	Others  []string  // completions of other candidates of the prompt, which follow it
	Verdict string
	Score   float64

	Reference, Completion, Evidence string
}

func readExamples(t *testing.T) (kinds []string, files map[string]exampleFile) {
	t.Helper()
	paths, err := filepath.Glob("testdata/examples/*.yaml")
	require.NoError(t, err)
	files = map[string]exampleFile{}
	for _, p := range paths {
		f, err := os.Open(p)
		require.NoError(t, err)
		d := yaml.NewDecoder(f)
		d.KnownFields(true)
		var e exampleFile
		require.NoError(t, d.Decode(&e), p)
		require.NoError(t, f.Close())
		kind := strings.TrimSuffix(filepath.Base(p), ".yaml")
		kinds = append(kinds, kind)
		files[kind] = e
	}
	return kinds, files
}

// candidates are the example's row and those beside it.
func (e example) candidates() (out []stillhouse.Candidate) {
	for i, text := range append([]string{e.Completion}, e.Others...) {
		c := candidate("example", i, e.Reference, text, int(e.Tokens))
		c.Prompt.Prompt[0].Content = e.Prompt
		for _, p := range e.LogProb {
			c.LogProbs = append(c.LogProbs, stillhouse.TokenLogProb{Token: "t", LogProb: p})
		}
		for _, s := range []struct {
			text string
			to   **string
		}{{e.Tools, &c.Tools}, {e.Meta, &c.Meta}, {e.Row.Reasoning, &c.Reasoning}, {e.Row.ToolCalls, &c.ToolCalls}} {
			if s.text != "" {
				*s.to = &s.text
			}
		}
		out = append(out, c)
	}
	return out
}

// score has the rewards before the example's scored, and then the example's.
func (e example) score(t *testing.T) stillhouse.Score {
	var said []stillhouse.Score
	model := &script{says: e.Judge}
	for _, entry := range append(e.Before, e.Reward) {
		entry, err := entry.Filled()
		require.NoError(t, err)
		r, err := entry.New()
		require.NoError(t, err)
		if o, ok := r.(Opener); ok {
			require.NoError(t, o.Open())
		}
		if a, ok := r.(Asking); ok {
			a.AskThrough(model.open)
		}
		candidates := e.candidates()
		if _, ok := r.(Group); !ok {
			candidates = candidates[:1]
		}
		got := Ask(context.Background(), r, time.Duration(entry.Timeout*float64(time.Second)), candidates, said)[0]
		if c, ok := r.(io.Closer); ok {
			require.NoError(t, c.Close())
		}
		got.Name = entry.Name
		said = append(said, got)
	}
	return said[len(said)-1]
}

// Every kind of reward has examples, and they are true.
func TestExamples(t *testing.T) {
	_, files := readExamples(t)
	for kind := range Kinds() {
		assert.NotEmpty(t, files[kind].Examples, "reward %s has no testdata/examples/%s.yaml", kind, kind)
	}
	for kind, f := range files {
		for i, e := range f.Examples {
			t.Run(fmt.Sprintf("%s/%d", kind, i), func(t *testing.T) {
				require.Equal(t, kind, e.Reward.Kind)
				if e.Needs != "" {
					testkit.Needs(t, e.Needs)
				}
				got := e.score(t)
				assert.Equal(t, e.Verdict, got.Verdict, got.Evidence)
				if math.IsNaN(got.Score) {
					assert.Contains(t, []string{stillhouse.Timeout, stillhouse.Errored}, e.Verdict)
				} else {
					assert.InDelta(t, e.Score, got.Score, 1e-9)
				}
				assert.Contains(t, got.Evidence, e.Evidence)
			})
		}
	}
}

// The rewards in docs/curate.md are those of the examples.
func TestRewardsPage(t *testing.T) {
	var b strings.Builder
	kinds, files := readExamples(t)
	for _, kind := range kinds {
		fmt.Fprintf(&b, "### %s\n\n%s\n", kind, files[kind].Says)
		b.WriteString("| config | reference | completion | verdict | score | evidence |\n|---|---|---|---|---|---|\n")
		for _, e := range files[kind].Examples {
			config, err := yaml.Marshal(e.Reward.short())
			require.NoError(t, err)
			score := fmt.Sprint(e.Score)
			if e.Verdict == stillhouse.Timeout || e.Verdict == stillhouse.Errored {
				score = "none"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", cell(string(config)), cell(e.Reference), cell(e.Completion), e.Verdict, score, cell(e.Evidence))
		}
		b.WriteString("\n")
	}
	testkit.Section(t, "../../docs/curate.md", "rewards", b.String())
}

// short is the entry as somebody would write it: only what differs from the defaults.
func (e Entry) short() any {
	zero := Entry{Kind: e.Kind}
	zero.EnsureDefaults()
	all, plain := map[string]map[string]any{}, map[string]map[string]any{}
	for entry, to := range map[*Entry]*map[string]map[string]any{&e: &all, &zero: &plain} {
		text, err := yaml.Marshal(*entry)
		if err == nil {
			err = yaml.Unmarshal(text, to)
		}
		if err != nil {
			return err.Error()
		}
	}
	for k, v := range all[e.Kind] {
		if fmt.Sprint(plain[e.Kind][k]) == fmt.Sprint(v) {
			delete(all[e.Kind], k)
		}
	}
	if len(all[e.Kind]) == 0 {
		return e.Kind
	}
	node := new(yaml.Node)
	if err := node.Encode(all); err != nil {
		return err.Error()
	}
	node.Style = yaml.FlowStyle
	return node
}

// cell makes text a cell of a table, as code.
func cell(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", "⏎"), "|", "\\|")
	if strings.Contains(text, "`") {
		return "``` " + text + " ```"
	}
	return "`" + text + "`"
}
