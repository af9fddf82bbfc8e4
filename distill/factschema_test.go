package distill

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// twoWays is a question with a schema, or in words.
func twoWays(i int) Question {
	user := func(text string) []stillhouse.Message { return []stillhouse.Message{{Role: "user", Content: text}} }
	return Question{Messages: user(fmt.Sprintf("%d as JSON", i)), InWords: user(fmt.Sprintf("%d in words", i)), Schema: json.RawMessage(`{"type":"object"}`), Samples: 1, MaxTokens: 9}
}

// withSchema counts the requests that have a schema.
func withSchema(t *testkit.Teacher) (n int) {
	for _, c := range t.Calls() {
		if c.Fields["response_format"] != nil {
			n++
		}
	}
	return n
}

// refusing is an endpoint that refuses schemas with a status and a body.
func refusing(t *testing.T, status int, body string, rest func(testkit.Call) *testkit.Fault) *testkit.Teacher {
	return testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Fields["response_format"] != nil {
			return &testkit.Fault{Status: status, Body: body}
		}
		if rest != nil {
			return rest(c)
		}
		return nil
	}})
}

const noFormat = `{"error":{"message":"Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."}}`

// An endpoint that refuses schemas is asked with one once, however many questions there are at a time, and never again.
func TestSchemasAreRefusedOnce(t *testing.T) {
	ctx, store := context.Background(), filepath.Join(t.TempDir(), "responses.db")
	teacher := refusing(t, 400, noFormat, nil)
	ask := func(d *Distill, from, to int) {
		t.Helper()
		g := errgroup.Group{}
		for i := from; i < to; i++ {
			g.Go(func() error {
				items, err := d.Ask(ctx, twoWays(i))
				if err == nil {
					err = items[0].Failed
				}
				return err
			})
		}
		require.NoError(t, g.Wait())
	}
	d := newStage(t, teacher, inStore(store))
	_, known := d.Schemas()
	assert.False(t, known)
	ask(d, 0, 20)
	assert.Equal(t, 1, withSchema(teacher))
	assert.Equal(t, 21, teacher.Requests())
	taken, known := d.Schemas()
	assert.True(t, known && !taken)
	for _, c := range teacher.Calls() {
		assert.Equal(t, c.Fields["response_format"] != nil, strings.HasSuffix(c.Prompt(), "as JSON"), "the words are those of the way")
	}
	again := newStage(t, teacher, inStore(store))
	ask(again, 0, 21)
	assert.Equal(t, 1, withSchema(teacher), "another process knows it")
	assert.Equal(t, 22, teacher.Requests())

	words := twoWays(3).words()
	items, err := newStage(t, teacher, inStore(store)).Ask(ctx, words)
	require.NoError(t, err)
	require.NoError(t, items[0].Failed)
	assert.Equal(t, 22, teacher.Requests(), "what was asked in words is what a question in words asks")
}

func TestSchemasAreTaken(t *testing.T) {
	ctx := context.Background()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if strings.HasPrefix(c.Prompt(), "7 ") {
			return &testkit.Fault{Status: 400, Body: noFormat}
		}
		return nil
	}})
	d := newStage(t, teacher)
	for i := range 9 {
		items, err := d.Ask(ctx, twoWays(i))
		require.NoError(t, err)
		assert.Equal(t, i == 7, items[0].Failed != nil, "where they are taken, a refusal is the question's own")
	}
	assert.Equal(t, 9, withSchema(teacher))
	assert.Equal(t, 9, teacher.Requests())
	taken, known := d.Schemas()
	assert.True(t, known && taken)
}

// What endpoints say when it is the schema, and when it is something else.
func TestRefusalsOfSchemas(t *testing.T) {
	ctx := context.Background()
	for body, status := range map[string]int{
		noFormat: 400,
		`{"detail":[{"loc":["body","response_format","type"],"msg":"unexpected value"}]}`: 422,
		`{"error":{"message":"This request is not valid.","code":"unsupported_value"}}`:   400,
		`unsupported`: 400,
		`{"error":{"message":"json_schema is not available","code":400}}`: 200, // as relays have it
	} {
		teacher := refusing(t, status, body, nil)
		items, err := newStage(t, teacher).Ask(ctx, twoWays(0))
		require.NoError(t, err, body)
		assert.NoError(t, items[0].Failed, body)
		assert.Equal(t, 2, teacher.Requests(), body)
	}
	for body, status := range map[string]int{`{"error":{"message":"no"}}`: 400, noFormat: 403} {
		teacher := refusing(t, status, body, nil)
		d := newStage(t, teacher)
		items, err := d.Ask(ctx, twoWays(0))
		if err == nil {
			err = items[0].Failed
		}
		assert.ErrorContains(t, err, fmt.Sprint(status), body)
		_, known := d.Schemas()
		assert.False(t, known, body)
		assert.Equal(t, 1, teacher.Requests(), body)
	}
}

// That a schema is refused is believed when the question in words is answered; until then it is no failure that counts.
func TestSchemasAreBlamedForTheirOwn(t *testing.T) {
	ctx := context.Background()
	teacher := refusing(t, 400, `{"error":{"message":"unsupported"}}`, func(c testkit.Call) *testkit.Fault {
		if c.Prompt() != "19 in words" {
			return &testkit.Fault{Status: 400, Body: `{"error":{"message":"max_tokens is unsupported"}}`}
		}
		return nil
	})
	d := newStage(t, teacher)
	for i := range sameFailures - 1 {
		items, err := d.Ask(ctx, twoWays(i))
		require.NoError(t, err, "question %d: a refused schema does not count against the endpoint", i)
		require.ErrorContains(t, items[0].Failed, "max_tokens is unsupported")
	}
	_, known := d.Schemas()
	assert.False(t, known)
	items, err := d.Ask(ctx, twoWays(19))
	require.NoError(t, err)
	require.NoError(t, items[0].Failed)
	taken, known := d.Schemas()
	assert.True(t, known && !taken)
}
