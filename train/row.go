package train

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/chat"
	messageform "stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// A Row is one row to train on, before it is encoded. It is one of four kinds:
//
//	messages             a conversation, trained on every token
//	prompt, completion   conversations, trained on the completion
//	prompt, completion   strings, trained on the completion
//	text                 a string, trained on every token
//
// Conversations are the JSON lists of messages that they were read as: a template may look at any field, and prints
// some in the order in which they stand.
type Row struct {
	Name       string // for people: line 7, prompt "p17" sample 2
	ID         string // prompt_id of a row that answers a prompt, "" where there is none
	Sample     string // and its number
	Prompt     json.RawMessage
	Completion json.RawMessage
	Messages   json.RawMessage
	Text       *string
	Tools      json.RawMessage // of conversations; nil when there are none
	Vars       map[string]any  // chat_template_kwargs: what the template reads beyond the messages
}

// The kinds of rows.
type kind int

const (
	conversation kind = iota
	pair
	plain
)

func (k kind) String() string {
	return [...]string{"messages", "prompt and completion", "text"}[k]
}

func (r Row) kind() kind {
	switch {
	case r.Prompt != nil:
		return pair
	case r.Messages != nil:
		return conversation
	default:
		return plain
	}
}

// row makes a Row of the fields of a record.
func row(name string, fields rowfile.Row, there []string, textField string) (Row, error) {
	r := Row{Name: name}
	r.ID, r.Sample = sampleID(fields)
	get := func(key string) json.RawMessage {
		if v := fields[key]; len(v) > 0 && !bytes.Equal(v, []byte("null")) {
			return v
		}
		return nil
	}
	prompt, completion, talk, text := get("prompt"), get("completion"), get("messages"), get(textField)
	switch {
	case prompt != nil && completion != nil:
		if isString(prompt) != isString(completion) {
			return r, stillhouse.Invalidf("%s: one of prompt and completion is a string and the other is not: make both strings or both lists of messages", name)
		}
		r.Prompt, r.Completion = prompt, completion
		if full, ok := unwrapped(get("prompt_messages")); !ok {
			return r, stillhouse.Invalidf("%s: prompt_messages is a string that is not JSON", name)
		} else if full != nil && !isString(prompt) { // the same messages, with their tool calls
			r.Prompt = messageform.ForTemplates(full)
		}
	case talk != nil:
		r.Messages = talk
	case text != nil:
		if err := json.Unmarshal(text, &r.Text); err != nil {
			return r, stillhouse.Invalidf("%s: %s is not a string", name, textField)
		}
		return r, nil
	default:
		return r, stillhouse.Invalidf("%s: there is nothing to train on: messages, prompt and completion, or %s must be there; the columns that are there are %s",
			name, textField, strings.Join(there, ", "))
	}
	var ok bool
	if r.Tools, ok = unwrapped(get("tools")); !ok {
		return r, stillhouse.Invalidf("%s: tools is a string that is not JSON", name)
	} else if r.Tools != nil && json.Unmarshal(r.Tools, new([]map[string]json.RawMessage)) != nil {
		return r, stillhouse.Invalidf("%s: tools is not a list of tools, each an object", name)
	}
	if v := get("chat_template_kwargs"); v != nil {
		if err := json.Unmarshal(v, (*chat.TemplateVars)(&r.Vars)); err != nil {
			return r, stillhouse.Invalidf("%s: chat_template_kwargs is not an object: %v", name, err)
		}
	}
	if isString(r.Completion) || r.Completion == nil {
		return r, nil
	}
	return r, r.answer(get("reasoning"), get("tool_calls"))
}

func isString(v json.RawMessage) bool { return len(v) > 0 && v[0] == '"' }

// unwrapped is v, or, where v is a string, the JSON in it: nothing where that is empty.
func unwrapped(v json.RawMessage) (_ json.RawMessage, ok bool) {
	if !isString(v) {
		return v, true
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil || s == "" {
		return nil, err == nil
	}
	return json.RawMessage(s), json.Valid([]byte(s))
}

// answer puts the reasoning and the tool calls that a stage keeps in columns of their own where templates look for
// them: into the last message of the completion, unless it has its own.
func (r *Row) answer(reasoning, calls json.RawMessage) error {
	if reasoning == nil && calls == nil {
		return nil
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(r.Completion, &list); err != nil || len(list) == 0 {
		return stillhouse.Invalidf("%s: completion is not a list of messages", r.Name)
	}
	last := list[len(list)-1]
	if _, ok := last["reasoning_content"]; !ok && reasoning != nil {
		last["reasoning_content"] = reasoning
	}
	if _, ok := last["tool_calls"]; !ok && calls != nil {
		if calls, ok = unwrapped(calls); !ok || calls == nil {
			return stillhouse.Invalidf("%s: tool_calls is a string that is not JSON", r.Name)
		}
		last["tool_calls"] = messageform.CallsForTemplates(calls)
	}
	var err error
	r.Completion, err = json.Marshal(list)
	return err
}

// fieldNames are the columns that rows are made of.
func fieldNames(textField string) []string {
	return []string{"messages", "prompt", "completion", "tools", "chat_template_kwargs", "reasoning", "tool_calls", "prompt_messages", "prompt_id", "sample", textField}
}

// rows reads the rows of a batch. name says what to call the row at a place; it is used for rows that carry no name of
// their own.
func rows(batch arrow.RecordBatch, textField string, name func(i int) string) ([]Row, error) {
	there, want := columns(batch.Schema()), fieldNames(textField)
	out := make([]Row, batch.NumRows())
	for i := range out {
		fields := rowfile.Row{}
		for c, column := range there {
			if !slices.Contains(want, column) {
				continue
			}
			var err error
			if fields[column], err = rowfile.Value(batch.Column(c), i); err != nil {
				return nil, stillhouse.Permanentf("%s: column %q: %w", name(i), column, err)
			}
		}
		n := sampleName(fields)
		if n == "" {
			n = name(i)
		}
		var err error
		if out[i], err = row(n, fields, there, textField); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// RowsOf reads all rows of a source, in order.
func RowsOf(ctx context.Context, src stillhouse.Source, textField string) (out []Row, err error) {
	for shard := range src.Shards() {
		batch, err := src.Read(ctx, shard, memory.DefaultAllocator)
		if err != nil {
			return nil, fmt.Errorf("train: shard %d: %w", shard, err)
		}
		more, err := rows(batch, textField, func(i int) string { return fmt.Sprintf("row %d", len(out)+i+1) })
		batch.Release()
		if err != nil {
			return nil, fmt.Errorf("train: shard %d: %w", shard, err)
		}
		out = append(out, more...)
	}
	return out, nil
}

// sampleName is the name of a row that came from a teacher.
func sampleName(fields rowfile.Row) string {
	id, sample := sampleID(fields)
	switch {
	case id == "":
		return ""
	case sample == "":
		return fmt.Sprintf("prompt %q", id)
	}
	return fmt.Sprintf("prompt %q sample %s", id, sample)
}

// sampleID is the prompt that a row answers, and the number of the answer; "" for what it does not have.
func sampleID(fields rowfile.Row) (id, sample string) {
	if json.Unmarshal(fields["prompt_id"], &id) != nil {
		return "", ""
	}
	var n *int32
	if json.Unmarshal(fields["sample"], &n) == nil && n != nil {
		sample = fmt.Sprint(*n)
	}
	return id, sample
}

// Is reports whether which names the row: by its prompt_id, or as PROMPT_ID/SAMPLE.
func (r Row) Is(which string) bool {
	return r.ID != "" && (which == r.ID || r.Sample != "" && which == r.ID+"/"+r.Sample)
}

func columns(s *arrow.Schema) (names []string) {
	for _, f := range s.Fields() {
		names = append(names, f.Name)
	}
	return names
}
