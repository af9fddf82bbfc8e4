package distill

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

func texts(items []Item) (out []string) {
	for _, i := range items {
		out = append(out, i.Content)
	}
	return out
}

func TestQuestions(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher, func(d *Distill) { d.System, d.ExtraBody = "You are a still.", map[string]any{"top_k": 5} })
	ctx := context.Background()
	ask := func(q Question) []Item {
		t.Helper()
		items, err := d.Ask(ctx, q)
		require.NoError(t, err)
		for _, i := range items {
			require.NoError(t, i.Failed)
		}
		return items
	}
	chat := Question{Messages: questions(1)[0].Prompt, Samples: 6, Temperature: 0.5, MaxTokens: 20}
	six := ask(chat)
	require.Len(t, six, 6)
	assert.Equal(t, 1, teacher.Requests(), "with n")
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(teacher.Calls()[0].Body), &body))
	assert.Equal(t, map[string]any{"model": "m", "messages": body["messages"], "temperature": 0.5, "n": 6.0, "seed": body["seed"], "max_tokens": 20.0, "top_k": 5.0}, body)
	assert.Len(t, body["messages"], 1, "the run's system prompt is for its own prompts")

	// With a schema it is another question.
	schema := chat
	schema.Samples, schema.Schema = 1, json.RawMessage(`{"type": "object", "properties": {"b": {}, "a": {}}}`)
	formatted := ask(schema)
	assert.NotEqual(t, six[0].Key, formatted[0].Key)
	assert.JSONEq(t, `{"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object", "properties": {"b": {}, "a": {}}}}}`,
		string(teacher.Calls()[1].Fields["response_format"]))
	schema.Schema = json.RawMessage(`{"type": "objekt"}`)
	_, err := d.Ask(ctx, schema)
	require.ErrorContains(t, err, "is not a JSON schema")
	require.Equal(t, 2, teacher.Requests())

	// The samples of a question are numbered through: those from the third on are the same in a question of their own.
	chat.First, chat.Samples = 2, 6
	more := ask(chat)
	assert.Equal(t, texts(six)[2:], texts(more)[:4])
	assert.Equal(t, six[2].Key, more[0].Key)
	assert.Equal(t, 3, teacher.Requests())
	assert.Equal(t, 2, teacher.Calls()[2].N, "those that are not there")
	assert.Zero(t, teacher.Resent())
	alone := newStage(t, testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 1}))
	items, err := alone.Ask(ctx, chat)
	require.NoError(t, err)
	assert.Equal(t, texts(more), texts(items), "however they are asked for")

	text := Question{Text: "<user>", Samples: 2, Temperature: 1, MaxTokens: 9, Stop: []string{"</user>"}, ExtraBody: map[string]any{"min_tokens": 3}}
	two := ask(text)
	last := teacher.Calls()[teacher.Requests()-1]
	body = nil
	require.NoError(t, json.Unmarshal([]byte(last.Body), &body))
	assert.Equal(t, map[string]any{"model": "m", "prompt": "<user>", "temperature": 1.0, "n": 2.0, "seed": body["seed"], "max_tokens": 9.0, "stop": []any{"</user>"}, "min_tokens": 3.0}, body)
	assert.NotEqual(t, two[0].Content, two[1].Content)
	asked := teacher.Requests()
	assert.Equal(t, two, ask(text))
	assert.Equal(t, asked, teacher.Requests(), "it is in the store")
	text.Seed = 1
	assert.NotEqual(t, texts(two), texts(ask(text)))
	text.Text = "<assistant>"
	ask(text)
	_, err = d.Ask(ctx, Question{Samples: 1})
	require.Error(t, err)
}

// Where no seeds are sent, samples are told apart by their numbers.
func TestQuestionsWithoutSeeds(t *testing.T) {
	n := 0
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(testkit.Call) testkit.Choice {
		n++
		return testkit.Choice{Content: fmt.Sprint("answer ", n)}
	}, MaxChoices: 1})
	d := newStage(t, teacher, func(d *Distill) { d.Seed, d.Concurrency = new(int64(-1)), 1 })
	seen := map[string]bool{}
	for first := range 5 {
		items, err := d.Ask(context.Background(), Question{Text: "x", First: first, Samples: 1, Temperature: 1})
		require.NoError(t, err)
		seen[items[0].Content] = true
	}
	assert.Len(t, seen, 5)
	assert.NotContains(t, teacher.Calls()[0].Body, "seed")
}

func TestQuestionsThatFail(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}, Fault: func(c testkit.Call) *testkit.Fault {
		if c.Prompt() == "bad" {
			return testkit.Status(400, "", "")
		}
		return nil
	}})
	d := newStage(t, teacher, inBatches)
	items, err := d.Ask(context.Background(), Question{Text: "bad", Samples: 2, Temperature: 1})
	require.NoError(t, err)
	require.ErrorContains(t, items[1].Failed, "answered 400")
	items, err = d.Ask(context.Background(), Question{Text: "good", Samples: 1, Temperature: 1})
	require.NoError(t, err)
	assert.NotEmpty(t, items[0].Content)
	assert.Zero(t, teacher.BatchCount(), "questions are asked at once also where prompts go in batches")
}
