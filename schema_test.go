package stillhouse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

func TestRequire(t *testing.T) {
	with := func(name string, typ arrow.DataType) *arrow.Schema {
		fields := stillhouse.PromptSchema.Fields()
		for i := range fields {
			if fields[i].Name == name {
				fields[i].Type = typ
			}
		}
		return arrow.NewSchema(fields, nil)
	}
	role := arrow.Field{Name: "role", Type: arrow.BinaryTypes.String}
	content := arrow.Field{Name: "content", Type: arrow.BinaryTypes.String}
	for name, tc := range map[string]struct {
		in      *arrow.Schema
		columns []string
		says    string
	}{
		"all there":          {stillhouse.PromptSchema, []string{"prompt_id", "prompt", "meta"}, ""},
		"more there":         {stillhouse.ScoredSchema, []string{"prompt_id"}, ""},
		"none asked":         {stillhouse.SampleSchema, nil, ""},
		"another item name":  {with("prompt", arrow.ListOfField(arrow.Field{Name: "element", Type: arrow.StructOf(role, content)})), []string{"prompt"}, ""},
		"missing":            {stillhouse.SampleSchema, []string{"prompt", "source"}, `column "source" is missing: the columns there are [prompt completion tools`},
		"text, no list":      {with("prompt", arrow.BinaryTypes.String), []string{"prompt"}, `column "prompt" is utf8, not list<`},
		"list, no text":      {with("source", arrow.ListOf(arrow.BinaryTypes.String)), []string{"source"}, `column "source" is list<`},
		"keys turned round":  {with("prompt", arrow.ListOf(arrow.StructOf(content, role))), []string{"prompt"}, `column "prompt" is list<`},
		"a key more":         {with("prompt", arrow.ListOf(arrow.StructOf(role, content, arrow.Field{Name: "name", Type: arrow.BinaryTypes.String}))), []string{"prompt"}, `column "prompt"`},
		"no struct":          {with("prompt", arrow.ListOf(arrow.BinaryTypes.String)), []string{"prompt"}, `column "prompt"`},
		"asked for by error": {stillhouse.PromptSchema, []string{"reward"}, `column "reward" is not a column of this schema`},
	} {
		err := stillhouse.Require(tc.in, stillhouse.PromptSchema, tc.columns...)
		if (err != nil) != (tc.says != "") || err != nil && (!strings.Contains(err.Error(), tc.says) || stillhouse.KindOf(err) != stillhouse.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := stillhouse.Samples(stillhouse.PromptBatch(memory.DefaultAllocator, nil)); err == nil || !strings.Contains(err.Error(), `"completion"`) {
		t.Errorf("samples of a batch of prompts: %v", err)
	}
}

// TestSchemas fixes the columns: files of earlier versions are read by them, and so does TRL.
func TestSchemas(t *testing.T) {
	const (
		prompt    = "prompt_id prompt tools? reference? source meta? prompt_messages?"
		candidate = prompt + " sample completion reasoning? tool_calls? finish_reason prompt_tokens completion_tokens model request_key" +
			" refusal? logprobs? cached_tokens? reasoning_tokens? system_fingerprint? system?"
	)
	for want, s := range map[string]*arrow.Schema{
		prompt:                       stillhouse.PromptSchema,
		candidate:                    stillhouse.CandidateSchema,
		candidate + " reward scores": stillhouse.ScoredSchema,
		"prompt completion tools? prompt_id sample reward reasoning? tool_calls? finish_reason completion_tokens model request_key meta?" +
			" refusal? logprobs? reasoning_tokens? system? prompt_messages?": stillhouse.SampleSchema,
		prompt + " stage reason detail": stillhouse.DropSchema(stillhouse.PromptSchema),
	} {
		var got []string
		for _, f := range s.Fields() {
			name := f.Name
			if f.Nullable {
				name += "?"
			}
			got = append(got, name)
		}
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
			t.Error(d)
		}
	}
}

func TestCheck(t *testing.T) {
	out, err := stillhouse.Check(stillhouse.PromptSchema, &sort{}, &triple{}, &unique{})
	if err != nil || !out.Equal(stillhouse.PromptSchema) {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := stillhouse.Check(stillhouse.SampleSchema, &sort{}); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), `sort: column "source" is missing`) {
		t.Errorf("another input: %v", err)
	}
	if _, err := stillhouse.Check(stillhouse.PromptSchema, &sort{}, &triple{}, &sort{}); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), `"sort"`) {
		t.Errorf("a name twice: %v", err)
	}
}

func TestAccount(t *testing.T) {
	a := stillhouse.Account{In: 10, Kept: 6, Dropped: map[string]int64{"x": 3}, Failed: map[string]int64{"transient": 1}}
	b := stillhouse.Account{In: 6, Kept: 4, Dropped: map[string]int64{"x": 1, "y": 1}}
	if !a.Balanced() || !b.Balanced() || (stillhouse.Account{In: 1}).Balanced() {
		t.Error("Balanced is wrong")
	}
	want := stillhouse.Account{In: 16, Kept: 10, Dropped: map[string]int64{"x": 4, "y": 1}, Failed: map[string]int64{"transient": 1}}
	if d := cmp.Diff(want, a.Plus(b)); d != "" {
		t.Error(d)
	}
	want.In, want.Kept = 10, 4
	if d := cmp.Diff(want, a.Then(b)); d != "" || !a.Then(b).Balanced() {
		t.Error(d)
	}
	if a.Dropped["x"] != 3 {
		t.Error("adding up changed what was added")
	}
}

func TestKinds(t *testing.T) {
	cause := errors.New("cause")
	for _, tc := range []struct {
		err  error
		kind stillhouse.Kind
	}{
		{cause, stillhouse.Permanent},
		{nil, stillhouse.Permanent},
		{stillhouse.Permanentf("a: %w", cause), stillhouse.Permanent},
		{stillhouse.Transientf("a: %w", cause), stillhouse.Transient},
		{fmt.Errorf("b: %w", stillhouse.Invalidf("a: %w", cause)), stillhouse.Invalid},
		{stillhouse.Permanentf("b: %w", stillhouse.Transientf("a: %w", cause)), stillhouse.Permanent},
	} {
		if got := stillhouse.KindOf(tc.err); got != tc.kind {
			t.Errorf("%v is %v, not %v", tc.err, got, tc.kind)
		}
		if tc.err != nil && !errors.Is(tc.err, cause) {
			t.Errorf("%v hides its cause", tc.err)
		}
	}
}
