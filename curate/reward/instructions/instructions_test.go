package instructions

import (
	"bufio"
	"encoding/json"
	"os"
	"stillhouse/internal/testkit"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every row of the goldens has the reference's verdict, strict and loose.
func TestParity(t *testing.T) {
	rows := testkit.Lines[struct {
		ID            string
		InstructionID string `json:"instruction_id"`
		Kwargs        map[string]any
		Response      string
		Note          string
		Strict, Loose bool
	}](t, "../../../testdata/parity/data/ifeval/checks.jsonl")
	seen := map[string]bool{}
	for _, row := range rows {
		in, err := New(row.InstructionID, row.Kwargs)
		require.NoError(t, err, row.ID)
		strict, err := in.Follows(row.Response, false)
		require.NoError(t, err, row.ID)
		loose, err := in.Follows(row.Response, true)
		require.NoError(t, err, row.ID)
		assert.Equal(t, row.Strict, strict, "%s: strict: %s: %q", row.ID, row.Note, row.Response)
		assert.Equal(t, row.Loose, loose, "%s: loose: %s: %q", row.ID, row.Note, row.Response)
		seen[row.InstructionID] = true
	}
	require.Len(t, rows, 380)
	require.Len(t, seen, 25)
	require.Len(t, IDs(), 25)
}

// Sentences fall into words in capitals as in NLTK.
func TestCapitals(t *testing.T) {
	f, err := os.Open("testdata/words.jsonl")
	require.NoError(t, err)
	defer f.Close()
	rows := 0
	for s := bufio.NewScanner(f); s.Scan(); rows++ {
		var row struct {
			Sentence string
			Capitals int
		}
		require.NoError(t, json.Unmarshal(s.Bytes(), &row))
		require.Equal(t, row.Capitals, capitalsIn(row.Sentence), row.Sentence)
	}
	require.Equal(t, 452, rows)
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ id, kwargs, says string }{
		{"keywords:exist", `{}`, "there is no such instruction"},
		{"keywords:existence", `{}`, "keywords is <nil>"},
		{"keywords:existence", `{"keywords":[1]}`, "keywords holds 1"},
		{"keywords:existence", `{"keywords":["c++"]}`, "no regular expression"},
		{"keywords:frequency", `{"keyword":"a","frequency":2,"relation":"about"}`, "relation is about"},
		{"keywords:frequency", `{"keyword":"a","frequency":2.5,"relation":"at least"}`, "frequency is 2.5"},
		{"keywords:letter_frequency", `{"letter":"ab","let_frequency":2,"let_relation":"at least"}`, "one character"},
		{"keywords:forbidden_words", `{"forbidden_words":["("]}`, "no regular expression"},
		{"language:response_language", `{"language":"xx"}`, "language is"},
		{"length_constraints:number_words", `{"num_words":null,"relation":"at least"}`, "num_words is <nil>"},
		{"length_constraints:number_paragraphs", `{"num_paragraphs":-1}`, "num_paragraphs is -1"},
		{"length_constraints:nth_paragraph_first_word", `{"num_paragraphs":1,"first_word":"a"}`, "nth_paragraph is"},
		{"detectable_content:postscript", `{}`, "postscript_marker is"},
		{"detectable_format:multiple_sections", `{"section_spliter":"(","num_sections":1}`, "no regular expression"},
		{"startend:end_checker", `{"end_phrase":""}`, "end_phrase is"},
		{"combination:repeat_prompt", `{}`, "prompt_to_repeat is"},
	} {
		var k map[string]any
		require.NoError(t, json.Unmarshal([]byte(c.kwargs), &k))
		_, err := New(c.id, k)
		require.ErrorContains(t, err, c.says, "%+v", c)
	}
}

// example are arguments that every instruction finds its own in.
var example = map[string]any{"keywords": []any{"a.c"}, "keyword": "aa", "frequency": 2.0, "relation": "at least", "forbidden_words": []any{"naïve", "!"},
	"letter": "z", "let_frequency": 1.0, "let_relation": "less than", "language": "fr", "num_sentences": 3.0, "num_words": 3.0, "num_paragraphs": 2.0, "nth_paragraph": 2.0,
	"first_word": "However", "num_placeholders": 1.0, "postscript_marker": "P.P.S", "num_bullets": 2.0, "num_highlights": 2.0, "section_spliter": "Section", "num_sections": 2.0,
	"prompt_to_repeat": "Say it.", "end_phrase": "Bye.", "capital_frequency": 2.0, "capital_relation": "at least"}

func TestHostile(t *testing.T) {
	for _, unit := range []string{"a", "*", "A. ", "'s ", "[", "\n\n", "<<", "NaN", "\xff", " * - "} {
		text := strings.Repeat(unit, 200_000/len(unit))
		for _, id := range IDs() {
			in, err := New(id, example)
			require.NoError(t, err, id)
			_, err = in.Follows(text, true)
			require.NoError(t, err, id)
		}
	}
}

func FuzzFollows(f *testing.F) {
	for _, s := range []string{"", "One. Two. Three.", "***\n***", "\"x\"", "P.S. x", "{\"a\": NaN}", "* a\n- b", "<<t>>", "A******B", "\xff", "'TIS CANNOT", "e.g. i.e."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, id := range IDs() {
			in, err := New(id, example)
			require.NoError(t, err, id)
			strict, err := in.Follows(text, false)
			require.NoError(t, err, id)
			loose, err := in.Follows(text, true)
			require.NoError(t, err, id)
			require.True(t, loose || !strict, "%s: what holds strictly holds loosely", id)
		}
	})
}
