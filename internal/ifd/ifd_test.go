package ifd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/student"
)

const parity = "../../testdata/parity/train/"

// goldenRow is a row of ifd.jsonl; see its README.
type goldenRow struct {
	Instruction, Input, Output string
	Superfiltering             *struct {
		WholeIDs          []int32  `json:"whole_ids"`
		AnswerStart       int      `json:"answer_start"`
		AloneIDs          []int32  `json:"alone_ids"`
		LossAlone         *float64 `json:"loss_alone"`
		TokensAlone       int      `json:"tokens_alone"`
		LossConditional   *float64 `json:"loss_conditional"`
		TokensConditional int      `json:"tokens_conditional"`
		PPL               *float64 `json:"ifd_ppl"`
		Loss              *float64 `json:"ifd_loss"`
	}
	Chat *struct {
		FullIDs         []int32 `json:"full_ids"`
		AnswerStart     int     `json:"answer_start"`
		LossConditional float64 `json:"loss_conditional"`
		LossAlone       float64 `json:"loss_alone"`
		Tokens          int
		PPL             float64 `json:"ifd_ppl"`
		Loss            float64 `json:"ifd_loss"`
	}
}

type fixture struct {
	rows      []goldenRow
	pairs     []Pair
	maxLength int
	tokenizer *chat.Tokenizer
	scorer    *student.Scorer
}

func golden(t *testing.T) (f fixture) {
	t.Helper()
	var about struct {
		Model     string
		MaxLength int `json:"max_length"`
	}
	text, err := os.ReadFile(parity + "ifd/versions.json")
	if err == nil {
		err = json.Unmarshal(text, &about)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.maxLength = about.MaxLength
	file, err := os.Open(parity + "ifd/ifd.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		var r goldenRow
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		f.rows, f.pairs = append(f.rows, r), append(f.pairs, Pair{r.Instruction, r.Input, r.Output})
	}
	if len(f.rows) < 10 {
		t.Fatalf("only %d rows", len(f.rows))
	}
	if f.tokenizer, err = chat.Load(parity + "models/" + about.Model); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.tokenizer.Close() })
	m, err := student.Load(parity + "models/" + about.Model)
	if err != nil {
		t.Fatal(err)
	}
	if f.scorer, err = student.NewScorer(m, student.ScorerOptions{Tokens: 300}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.scorer.Close)
	return f
}

func all(pairs []Pair) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		for _, p := range pairs {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func collect(t *testing.T, scores iter.Seq2[Score, error]) (out []Score) {
	t.Helper()
	for s, err := range scores {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// near says whether losses agree to 2e-5 and ratios to 5e-5 of them, and whether both are missing.
func near(got float64, want *float64, ratio bool) bool {
	if want == nil {
		return math.IsNaN(got)
	}
	tolerance := 2e-5
	if ratio {
		tolerance = 5e-5 * math.Abs(*want)
	}
	return math.Abs(got-*want) <= tolerance
}

// The rows, counts, losses and ratios of Superfiltering's code: an answer that occurs in its question, one of one token,
// one that is cut, an empty one, a prompt that is longer than max_length.
func TestSuperfiltering(t *testing.T) {
	f := golden(t)
	v := Superfiltering{Tokenizer: f.tokenizer, MaxLength: f.maxLength}
	got := collect(t, Scores(context.Background(), f.scorer, v, all(f.pairs)))
	if len(got) != len(f.rows) {
		t.Fatalf("%d scores of %d pairs", len(got), len(f.rows))
	}
	missing := 0
	for i, r := range f.rows {
		s, want := got[i], r.Superfiltering
		if want == nil {
			if s.Missing != "the answer is empty" || s.Conditional.Labels+s.Alone.Labels > 0 {
				t.Errorf("pair %d: %+v", i, s)
			}
			missing++
			continue
		}
		plan, err := v.Plan(f.pairs[i])
		if err != nil {
			t.Fatal(err)
		}
		if start := slices.IndexFunc(plan.Conditional.Labels, func(l int32) bool { return l != student.Ignored }); !slices.Equal(plan.Conditional.Tokens, want.WholeIDs) ||
			start != want.AnswerStart && (start >= 0 || want.AnswerStart < len(want.WholeIDs)) {
			t.Errorf("pair %d: the answer begins at %d of %v, not at %d of %v", i, start, plan.Conditional.Tokens, want.AnswerStart, want.WholeIDs)
		}
		if !slices.Equal(plan.Alone.Tokens, want.AloneIDs) {
			t.Errorf("pair %d: alone it is %v, not %v", i, plan.Alone.Tokens, want.AloneIDs)
		}
		if s.Conditional.Labels != want.TokensConditional || s.Alone.Labels != want.TokensAlone {
			t.Errorf("pair %d: %d and %d tokens, not %d and %d", i, s.Conditional.Labels, s.Alone.Labels, want.TokensConditional, want.TokensAlone)
		}
		if !near(s.Conditional.Mean(), want.LossConditional, false) || !near(s.Alone.Mean(), want.LossAlone, false) ||
			!near(s.PPL(), want.PPL, true) || !near(s.Loss(), want.Loss, true) {
			t.Errorf("pair %d: losses %v and %v, ratios %v and %v", i, s.Conditional.Mean(), s.Alone.Mean(), s.PPL(), s.Loss())
		}
		if (s.Missing != "") != (want.PPL == nil) {
			t.Errorf("pair %d: missing is %q", i, s.Missing)
		}
		if want.PPL == nil {
			missing++
		}
	}
	if missing < 2 {
		t.Errorf("only %d pairs have no score", missing)
	}
}

func TestChat(t *testing.T) {
	f := golden(t)
	v := Chat{Tokenizer: f.tokenizer}
	got := collect(t, Scores(context.Background(), f.scorer, v, all(f.pairs)))
	for i, r := range f.rows {
		s, want := got[i], r.Chat
		if want == nil {
			if s.Missing != "the answer is empty" {
				t.Errorf("pair %d: %+v", i, s)
			}
			continue
		}
		plan, err := v.Plan(f.pairs[i])
		if err != nil {
			t.Fatal(err)
		}
		if start := slices.IndexFunc(plan.Conditional.Labels, func(l int32) bool { return l != student.Ignored }); !slices.Equal(plan.Conditional.Tokens, want.FullIDs) || start != want.AnswerStart {
			t.Errorf("pair %d: the answer begins at %d of %v, not at %d of %v", i, start, plan.Conditional.Tokens, want.AnswerStart, want.FullIDs)
		}
		if s.Conditional.Labels != want.Tokens || s.Alone.Labels != want.Tokens || s.Missing != "" {
			t.Errorf("pair %d: %+v, not %d tokens in both", i, s, want.Tokens)
		}
		if !near(s.Conditional.Mean(), &want.LossConditional, false) || !near(s.Alone.Mean(), &want.LossAlone, false) ||
			!near(s.PPL(), &want.PPL, true) || !near(s.Loss(), &want.Loss, true) {
			t.Errorf("pair %d: losses %v and %v, ratios %v and %v, not %+v", i, s.Conditional.Mean(), s.Alone.Mean(), s.PPL(), s.Loss(), *want)
		}
	}
}

// What the goldens do not have: an answer of one token, and a prompt that fills max_length to the last token.
func TestNothingToScore(t *testing.T) {
	f := golden(t)
	prompt := len(f.tokenizer.Encode(f.pairs[0].prompt()))
	for _, tc := range []struct {
		output       string
		maxLength    int
		before, with int // labels alone and after the prompt
		missing      string
	}{
		{".", 0, 0, 1, "the answer is one token, which has nothing before it when it stands alone"},
		{"Blue.", prompt, 0, 0, "nothing of the answer is left after its prompt"},
		{"Blue.", prompt + 1, 1, 1, ""},
	} {
		pair := Pair{Instruction: f.pairs[0].Instruction, Output: tc.output}
		s := collect(t, Scores(context.Background(), f.scorer, Superfiltering{Tokenizer: f.tokenizer, MaxLength: tc.maxLength}, all([]Pair{pair})))[0]
		if s.Missing != tc.missing || s.Alone.Labels != tc.before || s.Conditional.Labels != tc.with {
			t.Errorf("%+v: %+v", tc, s)
		}
		if missing := tc.missing != ""; math.IsNaN(s.PPL()) != missing || math.IsNaN(s.Loss()) != missing {
			t.Errorf("%+v: ratios %v and %v", tc, s.PPL(), s.Loss())
		}
	}
}

// A pair that is too long for the model is named, after the scores of those before it.
func TestTooLong(t *testing.T) {
	f := golden(t)
	long := Pair{Instruction: strings.Repeat("Name a colour. ", 400), Output: "Blue."}
	for name, v := range map[string]Variant{"chat": Chat{Tokenizer: f.tokenizer}, "superfiltering": Superfiltering{Tokenizer: f.tokenizer, MaxLength: 1 << 20}} {
		n := 0
		for _, err := range Scores(context.Background(), f.scorer, v, all([]Pair{f.pairs[0], f.pairs[1], long, f.pairs[2]})) {
			if err == nil {
				n++
				continue
			}
			if n != 2 || !strings.HasPrefix(err.Error(), "ifd: pair 2: nll: row 4 has ") || stillhouse.KindOf(err) != stillhouse.Invalid {
				t.Errorf("%s: after %d scores: %v", name, n, err)
			}
			n = -1
		}
		if n >= 0 {
			t.Errorf("%s: no error, %d scores", name, n)
		}
	}
	broken := errors.New("the file is cut short")
	for _, err := range Scores(context.Background(), f.scorer, Superfiltering{Tokenizer: f.tokenizer}, func(yield func(Pair, error) bool) { yield(Pair{}, broken) }) {
		if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "ifd: pair 0: ") {
			t.Errorf("%v", err)
		}
	}
}

type noPrompt struct{ *chat.Tokenizer }

func (n noPrompt) Render(m []chat.Message, o chat.RenderOptions) (string, error) {
	o.AddGenerationPrompt = false
	return n.Tokenizer.Render(m, o)
}

// A template without a generation prompt has nothing that an answer alone could follow.
func TestNoGenerationPrompt(t *testing.T) {
	f := golden(t)
	if _, err := (Chat{Tokenizer: noPrompt{f.tokenizer}}).Plan(f.pairs[0]); err == nil || !strings.Contains(err.Error(), "no generation prompt") {
		t.Errorf("%v", err)
	}
}
