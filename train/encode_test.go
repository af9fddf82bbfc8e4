package train

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/internal/rowfile"
	"stillhouse/internal/student"
	"stillhouse/internal/testkit"
)

const tiny = golden + "models/tiny-llama"

// sampleRows are rows of three kinds of fate: kept, dropped because the prompt fills max_length, and failed because a
// conversation without a message cannot be rendered.
func sampleRows() (out []stillhouse.Sample) {
	for i := range 24 {
		s := stillhouse.Sample{
			Prompt:     []stillhouse.Message{{Role: "user", Content: fmt.Sprintf("What is %d+1?", i)}},
			Completion: []stillhouse.Message{{Role: "assistant", Content: fmt.Sprint(i + 1)}},
			PromptID:   fmt.Sprintf("p%02d", i/3), Sample: int32(i % 3),
		}
		switch i % 8 {
		case 5:
			s.Prompt[0].Content = strings.Repeat("A long question. ", 20)
		case 6:
			s.Prompt = nil
		}
		out = append(out, s)
	}
	return out
}

func TestEncodeConforms(t *testing.T) {
	const limit = 110
	testkit.Conform(t, testkit.Case{
		New: func() stillhouse.Stage {
			return &Encode{Tokenizer: tiny, Options: Options{Student: tiny, MaxLength: new(limit)}}
		},
		Input:  func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.SampleBatch(mem, sampleRows()) },
		Needs:  []string{"prompt", "completion"},
		Output: ExampleSchema,
		BadInput: []*arrow.Schema{
			arrow.NewSchema(nil, nil),
			arrow.NewSchema([]arrow.Field{{Name: "messages", Type: arrow.BinaryTypes.String}}, nil),
			arrow.NewSchema([]arrow.Field{{Name: "text", Type: stillhouse.ConversationType}}, nil),
			arrow.NewSchema([]arrow.Field{{Name: "question", Type: arrow.BinaryTypes.String}}, nil),
		},
		Account: &stillhouse.Account{In: 24, Kept: 18, Dropped: map[string]int64{NoTrainedToken: 3}, Failed: map[string]int64{"permanent": 3}},
	})
}

// A stage and the course make the same examples of the same rows.
func TestStageAndCourseAgree(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	batch := stillhouse.SampleBatch(mem, sampleRows())
	defer batch.Release()
	o := pasted(t, "{max_length: 110}")
	tok, err := LoadTokenizer(tiny, o)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	in, sink := testkit.NewMemorySource(batch.Schema(), batch), new(testkit.MemorySink)
	defer in.Release()
	defer sink.Release()
	account, err := stillhouse.Run(context.Background(), in, (&Encode{Options: o}).Use(tok), sink, stillhouse.Options{Allocator: mem})
	if err != nil {
		t.Fatal(err)
	}
	out := sink.Source(ExampleSchema)
	defer out.Release()
	staged, err := ReadExamples(context.Background(), out)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rows(batch, "text", func(int) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	enc, err := NewEncoder(o, tok)
	if err != nil {
		t.Fatal(err)
	}
	examples, own, err := enc.EncodeRows(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(own, account); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(examples, staged); d != "" {
		t.Error(d)
	}
	again := ExampleBatch(mem, examples)
	defer again.Release()
	back, err := Examples(again)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(examples, back); d != "" {
		t.Error(d)
	}
	if examples[0].Row != `prompt "p00" sample 0` {
		t.Errorf("the row is called %s", examples[0].Row)
	}
}

// encode encodes one row.
func encode(t *testing.T, options, line string) (Example, *Encoder, error) {
	t.Helper()
	o := pasted(t, options)
	tok, err := LoadTokenizer(tiny, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	enc, err := NewEncoder(o, tok)
	if err != nil {
		t.Fatal(err)
	}
	var fields rowfile.Row
	if err := rowfile.Decode([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	r, err := row("line 1", fields, nil, o.DatasetTextField)
	if err != nil {
		t.Fatal(err)
	}
	x, err := enc.Encode(r)
	return x, enc, err
}

func TestMasks(t *testing.T) {
	const pair = `{"prompt": [{"role": "user", "content": "1+1?"}], "completion": [{"role": "assistant", "content": "2"}]}`
	for _, c := range []struct {
		name, options, line string
		trained             string // the text of the labels
	}{
		{"the completion, its end and the line break after it", "{}", pair, "2<|im_end|>\n"},
		{"everything", "{completion_only_loss: false}", `{"prompt": "a", "completion": "b"}`, "b<|im_end|>"},
		{"the completion of strings", "{}", `{"prompt": "1+1=", "completion": "2"}`, "2<|im_end|>"},
		{"an end that is there is not doubled", "{}", `{"prompt": "1+1=", "completion": "2<|im_end|>"}`, "2<|im_end|>"},
		{"text", "{}", `{"text": "ab"}`, "b<|im_end|>"},
		{"another column", "{dataset_text_field: story}", `{"story": "ab", "text": "no"}`, "b<|im_end|>"},
		{"another end", "{eos_token: <|endoftext|>}", `{"text": "ab"}`, "b<|endoftext|>"},
		{"cut at the end", "{max_length: 2}", `{"text": "abc"}`, "b"},
		{"cut at the start", "{max_length: 2, truncation_mode: keep_end}", `{"text": "abc"}`, "<|im_end|>"},
	} {
		x, enc, err := encode(t, c.options, c.line)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var labels []int32
		for i, l := range x.Labels {
			if i > 0 && l != student.Ignored {
				labels = append(labels, l)
			}
		}
		if got := enc.tok.Decode(labels, false); got != c.trained || len(labels) != x.Trained() || len(x.Labels) != len(x.Tokens) {
			t.Errorf("%s: trains %q, not %q", c.name, got, c.trained)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	template := filepath.Join(t.TempDir(), "alone.jinja")
	text := "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}!{% endif %}"
	if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	pair := `{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}`
	for _, c := range []struct {
		options, line, say string
		kind               stillhouse.Kind
	}{
		{"{chat_template_path: '" + template + "'}", pair, `line 1: the prompt is not the beginning of prompt and completion`, stillhouse.Invalid},
		{"{completion_only_loss: true}", `{"text": "a"}`, "line 1: completion_only_loss is true, but the row has no prompt and completion", stillhouse.Invalid},
		{"{}", `{"messages": []}`, "line 1: chat template: the conversation has no message", stillhouse.Permanent},
		{"{}", `{"messages": {"role": "user"}}`, "line 1: a conversation must be a list of messages", stillhouse.Invalid},
		{"{}", `{"prompt": [1], "completion": []}`, "line 1: a conversation must be a list of messages", stillhouse.Invalid},
		{"{}", `{"prompt": [], "completion": 5}`, "line 1: ", stillhouse.Permanent},
	} {
		if _, _, err := encode(t, c.options, c.line); err == nil || !strings.Contains(err.Error(), c.say) || stillhouse.KindOf(err) != c.kind {
			t.Errorf("%s %s: %v (%v), not %q", c.options, c.line, err, stillhouse.KindOf(err), c.say)
		}
	}
	for options, say := range map[string]string{
		"{eos_token: <|nobody|>}":             `eos_token "<|nobody|>" is not in the tokenizer's vocabulary`,
		"{chat_template_path: /no/such/file}": "chat_template_path: ",
		"{chat_template_path: ../testdata}":   "chat_template_path: ",
	} {
		o := pasted(t, options)
		tok, err := LoadTokenizer(tiny, o)
		if err == nil {
			_, err = NewEncoder(o, tok)
		}
		if err == nil || !strings.Contains(err.Error(), say) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v, not %q", options, err, say)
		}
	}
}

// A training of which no row trains the end of a turn is refused.
func TestNoEndIsTrained(t *testing.T) {
	x, enc, err := encode(t, "{max_length: 3}", `{"text": "abcdef"}`)
	if err != nil {
		t.Fatal(err)
	}
	err = enc.CheckEnds([]Example{x}, []int{2})
	if err == nil || stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), `none of 1 rows trains a token that ends a turn ("<|im_end|>")`) {
		t.Errorf("%v", err)
	}
	whole, enc, err := encode(t, "{}", `{"text": "abcdef"}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.CheckEnds([]Example{x, whole}, nil); err != nil {
		t.Errorf("one row is enough: %v", err)
	}
	// The template's own end of a turn counts where the tokenizer's is another.
	chatted, enc, err := encode(t, "{eos_token: <|endoftext|>}", `{"messages": [{"role": "user", "content": "a"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.CheckEnds([]Example{chatted}, nil); err != nil {
		t.Errorf("the template's end: %v", err)
	}
}

// Reasoning and tool calls reach the template.
func TestFieldsOfMessages(t *testing.T) {
	template := filepath.Join(t.TempDir(), "fields.jinja")
	text := "{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.reasoning_content %}<{{ m.reasoning_content }}>{% endif %}" +
		"{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{{ extra }}"
	if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	batch := stillhouse.SampleBatch(memory.DefaultAllocator, append(samples(), callSample()))
	defer batch.Release()
	list, err := rows(batch, "text", func(int) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	list[2].Vars = map[string]any{"extra": "!"}
	o := pasted(t, "{chat_template_path: '"+template+"'}")
	tok, err := LoadTokenizer(tiny, o)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	enc, err := NewEncoder(o, tok)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"user:1+1?<|im_end|>assistant:2<it adds up><|im_end|>",
		`user:call<|im_end|>assistant:[{"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}]<|im_end|>[{"type": "function"}]`,
		"user:<é><|im_end|>assistant:ok<|im_end|>!",
		`user:call<|im_end|>assistant:[{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"b": 1.0, "a": "<"}}}]<|im_end|>tool:4<|im_end|>` +
			`assistant:[{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"b": 1.0, "a": "<"}}}]<|im_end|>`,
	} {
		both, err := join(list[i])
		if err != nil {
			t.Fatal(err)
		}
		ids, err := enc.template(list[i], both, false)
		if got := tok.Decode(ids, false); err != nil || got != want {
			t.Errorf("row %d: %q, %v, not %q", i, got, err, want)
		}
	}
}

// Rows of text and of conversations in other Arrow types are read too.
func TestEncodeSchema(t *testing.T) {
	s := &Encode{Tokenizer: tiny}
	if s.Name() != "train" {
		t.Errorf("its name is %s", s.Name())
	}
	for _, f := range []arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.LargeString},
		{Name: "messages", Type: arrow.LargeListOf(arrow.StructOf(arrow.Field{Name: "content", Type: arrow.BinaryTypes.String}))},
	} {
		if _, err := s.Schema(arrow.NewSchema([]arrow.Field{f}, nil)); err != nil {
			t.Error(err)
		}
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append("abc")
	rec := b.NewRecordBatch()
	defer rec.Release()
	if _, err := Examples(rec); err == nil || !strings.Contains(err.Error(), `column "row" is missing`) {
		t.Errorf("rows that are not examples: %v", err)
	}
}

// The assistant's turns alone are trained, all of them; within a completion, only its own.
func TestAssistantOnly(t *testing.T) {
	template := golden + "sft/f-assistant-only/chat_template.jinja"
	talk := `{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]}`
	pair := `{"prompt": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}], "completion": [{"role": "assistant", "content": "four"}]}`
	for _, c := range []struct{ options, row, want string }{
		{"chat_template_path: " + template, talk, "two<|im_end|>four<|im_end|>"},
		{"chat_template_path: " + template, pair, "four<|im_end|>"},
		{"{completion_only_loss: false, chat_template_path: " + template + "}", pair, "two<|im_end|>four<|im_end|>"},
		{"chat_template_path: " + template, `{"messages": [{"role": "user", "content": "one"}]}`, ""},
	} {
		o := pasted(t, c.options)
		o.Student, o.AssistantOnlyLoss = tiny, true
		s := load(t, o)
		enc, err := NewEncoder(o, s.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		x, err := enc.Encode(readAll(t, Data{Path: write(t, "rows.jsonl", []byte(c.row+"\n"))})[0])
		if err != nil {
			t.Errorf("%s: %v", c.row, err)
		}
		if got := s.Tokenizer.Decode(slices.Collect(x.trained()), false); got != c.want || enc.keeps(x) != (c.want != "") {
			t.Errorf("%s: %q is trained, not %q", c.row, got, c.want)
		}
	}
	o := pasted(t, "chat_template_path: "+template)
	o.Student, o.AssistantOnlyLoss = tiny, true
	s := load(t, o)
	for row, say := range map[string]string{`{"text": "one"}`: "is no conversation", `{"prompt": "one", "completion": "two"}`: "is no conversation"} {
		enc, err := NewEncoder(o, s.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := enc.Encode(readAll(t, Data{Path: write(t, "rows.jsonl", []byte(row+"\n"))})[0]); err == nil || !strings.Contains(err.Error(), say) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", row, err)
		}
	}
}
