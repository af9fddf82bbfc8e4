package distill

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

// A wired choice is one entry of a response's choices: the answer to a sample, under whatever index.
type wired struct {
	index  any // nil for none
	sample int
	text   *string // in place of the sample's own
}

// answering makes a teacher that puts these choices into its answers to requests for several samples.
func answering(choices ...wired) *testkit.Teacher {
	return &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.N == 1 {
			return nil
		}
		var list []map[string]any
		for _, w := range choices {
			c.Sample = w.sample
			choice := testkit.Prose(c)
			if w.text != nil {
				choice.Content = *w.text
			}
			entry := map[string]any{"message": map[string]any{"role": "assistant", "content": choice.Content}, "finish_reason": choice.FinishReason}
			if w.index != nil {
				entry["index"] = w.index
			}
			list = append(list, entry)
		}
		body, err := json.Marshal(map[string]any{"model": "m", "choices": list, "usage": map[string]any{"prompt_tokens": 9, "completion_tokens": 20}})
		if err != nil {
			panic(err) // strings and numbers always marshal
		}
		return &testkit.Fault{Body: string(body)}
	}}
}

// However a server puts its choices, each sample gets one answer and is asked for once.
func TestChoicesHoweverTheyCome(t *testing.T) {
	const prompts = 6
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(prompts)).texts()
	empty := ""
	for name, tc := range map[string]struct {
		choices  []wired
		requests int    // a prompt
		samples  [4]int // whose answer each sample gets
	}{
		"in order":             {[]wired{{0, 0, nil}, {1, 1, nil}, {2, 2, nil}, {3, 3, nil}}, 1, [4]int{0, 1, 2, 3}},
		"out of order":         {[]wired{{2, 2, nil}, {0, 0, nil}, {3, 3, nil}, {1, 1, nil}}, 1, [4]int{0, 1, 2, 3}},
		"without indexes":      {[]wired{{nil, 0, nil}, {nil, 1, nil}, {nil, 2, nil}, {nil, 3, nil}}, 1, [4]int{0, 1, 2, 3}},
		"all of index 0":       {[]wired{{0, 0, nil}, {0, 1, nil}, {0, 2, nil}, {0, 3, nil}}, 1, [4]int{0, 1, 2, 3}},
		"an index twice":       {[]wired{{0, 0, nil}, {1, 1, nil}, {1, 2, nil}, {2, 3, nil}}, 1, [4]int{0, 1, 2, 3}},
		"from 1 on":            {[]wired{{2, 1, nil}, {1, 0, nil}, {4, 3, nil}, {3, 2, nil}}, 1, [4]int{0, 1, 2, 3}},
		"more than were asked": {[]wired{{0, 0, nil}, {1, 1, nil}, {2, 2, nil}, {3, 3, nil}, {4, 0, nil}, {5, 1, nil}}, 1, [4]int{0, 1, 2, 3}},
		"one twice":            {[]wired{{0, 0, nil}, {1, 0, nil}, {2, 2, nil}, {3, 2, nil}}, 1, [4]int{0, 0, 2, 2}},
		"one empty":            {[]wired{{0, 0, nil}, {1, 1, &empty}, {2, 2, nil}, {3, 3, nil}}, 1, [4]int{0, -1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, answering(tc.choices...))
			d := newStage(t, teacher)
			r := mustRun(t, d, questions(prompts))
			require.Len(t, r.Rows, 4*prompts)
			for i, c := range r.Rows {
				text := ""
				if from := tc.samples[i%4]; from >= 0 {
					text = want[i-i%4+from]
					text = text[len(c.ID)+3:]
				}
				assert.Equal(t, text, c.Text(), "%s/%d", c.ID, c.Sample)
				assert.Equal(t, int32(i%4), c.Sample)
			}
			assert.Equal(t, tc.requests*prompts, teacher.Requests())
			again := newStage(t, teacher, inStore(d.Store))
			assert.Empty(t, cmp.Diff(r, mustRun(t, again, questions(prompts))), "the store has them as they were taken")
			assert.Zero(t, again.Requests().Requests)
		})
	}
}

// A server that gives fewer choices than it is asked for, now these and now those, is asked for the rest.
func TestFewerChoices(t *testing.T) {
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(20)).texts()
	for _, most := range []int{2, 3} {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: most})
		d := newStage(t, teacher)
		assert.Empty(t, cmp.Diff(want, mustRun(t, d, questions(20)).texts()))
		assert.Equal(t, 40, teacher.Requests())
		assert.Equal(t, int64(80), d.Requests().Asked)
		assert.Zero(t, teacher.Resent())
	}
}
