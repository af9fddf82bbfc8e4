package train

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// write makes a file of the test.
func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readAll(t *testing.T, d Data) []Row {
	t.Helper()
	list, err := ReadRows(context.Background(), d, "text")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestReadRows(t *testing.T) {
	one := "\ufeff" + `{"messages": [{"role": "user", "content": "a<b"}], "tools": "[{\"z\": 1, \"a\": 2}]", "chat_template_kwargs": {"enable_thinking": false}}` + "\n\n  \n" +
		`{"messages": [{"role": "user", "content": "c"}], "tools": null}`
	list := readAll(t, Data{Path: write(t, "rows.jsonl", []byte(one))})
	want := []Row{
		{Name: "rows.jsonl line 1", Messages: []byte(`[{"role": "user", "content": "a<b"}]`), Tools: []byte(`[{"z": 1, "a": 2}]`), Vars: map[string]any{"enable_thinking": json.RawMessage("false")}},
		{Name: "rows.jsonl line 4", Messages: []byte(`[{"role": "user", "content": "c"}]`)},
	}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}
	if got := readAll(t, Data{Path: golden + "sft/data/pc.jsonl", Limit: 7}); len(got) != 7 || got[6].kind() != pair {
		t.Errorf("%d rows, not 7", len(got))
	}
}

func TestReadRowsRefuses(t *testing.T) {
	for _, c := range []struct{ name, data, say string }{
		{"none.jsonl", "", "none.jsonl is empty"},
		{"blank.jsonl", "\n \n", "has no rows"},
		{"broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"\n", "broken.jsonl line 2: the line is not a JSON object: it breaks off: mend the row"},
		{"list.jsonl", "[1]\n", "list.jsonl item 1: the item is not a JSON object: it is a JSON number"},
		{"bytes.jsonl", "{\"text\": \"a\xff\"}", "bytes.jsonl line 1: the line is not valid UTF-8"},
		{"other.jsonl", `{"question": "a", "answer": "b"}`, "messages, prompt and completion, or text must be there; the columns that are there are answer, question"},
		{"half.jsonl", `{"prompt": "a"}`, "half.jsonl line 1: there is nothing to train on"},
		{"mixed.jsonl", `{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}`, "one of prompt and completion is a string"},
		{"kinds.jsonl", "{\"text\": \"a\"}\n{\"messages\": []}\n", "kinds.jsonl line 2 has rows of another kind (messages) than kinds.jsonl line 1 (text)"},
		{"number.jsonl", `{"text": 7}`, "number.jsonl line 1: text is not a string"},
		{"tools.jsonl", `{"messages": [], "tools": "[{"}`, "tools is a string that is not JSON"},
		{"tools.jsonl", `{"messages": [], "tools": 5}`, "tools is not a list of tools"},
		{"tools.jsonl", `{"messages": [], "tools": "[1]"}`, "tools is not a list of tools"},
		{"vars.jsonl", `{"messages": [], "chat_template_kwargs": [1]}`, "chat_template_kwargs is not an object"},
		{"not.parquet", "PAR1 and no more", "not.parquet"},
		{"tiny.parquet", "PA", "tiny.parquet"},
	} {
		_, err := ReadRows(context.Background(), Data{Path: write(t, c.name, []byte(c.data))}, "text")
		if err == nil || !strings.Contains(err.Error(), c.say) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v, not %q", c.name, err, c.say)
		}
	}
	if _, err := ReadRows(context.Background(), Data{Path: "there-is-no-such-file"}, "text"); stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := ReadRows(context.Background(), Data{Path: t.TempDir()}, "text"); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
}

// samples are rows as a run leaves them.
func samples() []stillhouse.Sample {
	reason, calls, tools := "it adds up", `[{"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}]`, `[{"type": "function"}]`
	return []stillhouse.Sample{
		{Prompt: []stillhouse.Message{{Role: "user", Content: "1+1?"}}, Completion: []stillhouse.Message{{Role: "assistant", Content: "2"}}, PromptID: "p1", Reasoning: &reason},
		{Prompt: []stillhouse.Message{{Role: "user", Content: "call"}}, Completion: []stillhouse.Message{{Role: "assistant", Content: ""}}, PromptID: "p2", Sample: 3, ToolCalls: &calls, Tools: &tools},
		{Prompt: []stillhouse.Message{{Role: "user", Content: "<é>"}}, Completion: []stillhouse.Message{{Role: "assistant", Content: "ok"}}, PromptID: "p3"},
	}
}

// callSample is a row with calls in its prompt and its completion, in the form of OpenAI's API.
func callSample() stillhouse.Sample {
	text := `[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\": 1.0, \"a\": \"<\"}"}}]`
	full := `[{"role":"user","content":"call"},{"role":"assistant","content":null,"tool_calls":` + text + `},{"role":"tool","content":"4","tool_call_id":"c"}]`
	return stillhouse.Sample{Prompt: []stillhouse.Message{{Role: "user", Content: "call"}, {Role: "assistant"}, {Role: "tool", Content: "4"}}, Messages: &full,
		Completion: []stillhouse.Message{{Role: "assistant"}}, ToolCalls: &text, PromptID: "p4"}
}

func parquetFile(t *testing.T, rec arrow.RecordBatch) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &buf, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err == nil {
		err = w.Write(rec)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestReadParquet(t *testing.T) {
	batch := stillhouse.SampleBatch(memory.DefaultAllocator, samples())
	defer batch.Release()
	file := parquetFile(t, batch)
	list := readAll(t, Data{Path: write(t, "rows.parquet", file)})
	want := []Row{
		{Name: `rows.parquet row 1 (prompt "p1" sample 0)`, ID: "p1", Sample: "0", Prompt: []byte(`[{"content":"1+1?","role":"user"}]`), Completion: []byte(`[{"content":"2","reasoning_content":"it adds up","role":"assistant"}]`)},
		{Name: `rows.parquet row 2 (prompt "p2" sample 3)`, ID: "p2", Sample: "3", Prompt: []byte(`[{"content":"call","role":"user"}]`), Tools: []byte(`[{"type": "function"}]`),
			Completion: []byte(`[{"content":"","role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":{"b":1,"a":2}}}]}]`)},
		{Name: `rows.parquet row 3 (prompt "p3" sample 0)`, ID: "p3", Sample: "0", Prompt: []byte(`[{"content":"\u003cé\u003e","role":"user"}]`), Completion: []byte(`[{"content":"ok","role":"assistant"}]`)},
	}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}
	if got := readAll(t, Data{Path: write(t, "rows", file), Limit: 2}); len(got) != 2 {
		t.Errorf("%d rows, not 2", len(got))
	}

	// Rows of a sliced batch are its own.
	tail := batch.NewSlice(1, 3)
	defer tail.Release()
	sliced, err := rows(tail, "text", func(int) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Name = strings.TrimSuffix(want[i].Name[len("rows.parquet row 1 ("):], ")")
	}
	if d := cmp.Diff(want[1:], sliced); d != "" {
		t.Errorf("sliced: %s", d)
	}

	if _, err := ReadRows(context.Background(), Data{Path: write(t, "half.parquet", file[:len(file)/2])}, "text"); stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("half a file: %v", err)
	}
}

func TestParquetOfText(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "story", Type: arrow.BinaryTypes.LargeString, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.LargeStringBuilder).Append("once")
	b.Field(0).(*array.LargeStringBuilder).AppendNull()
	rec := b.NewRecordBatch()
	defer rec.Release()
	path := write(t, "stories.parquet", parquetFile(t, rec))
	if list, err := ReadRows(context.Background(), Data{Path: path, Limit: 1}, "story"); err != nil || *list[0].Text != "once" || list[0].Name != "stories.parquet row 1" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := ReadRows(context.Background(), Data{Path: path}, "story"); err == nil || !strings.Contains(err.Error(), "stories.parquet row 2: there is nothing to train on: messages, prompt and completion, or story must be there; the columns that are there are story") {
		t.Errorf("a row without text: %v", err)
	}
}

func FuzzRow(f *testing.F) {
	for _, seed := range []string{`{"text": "a"}`, `{"prompt": [], "completion": []}`, `{"messages": [{"role": "user"}], "tools": "[]"}`, `{"prompt":"a","completion":null}`, `{"text": "a", "tools": 3}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var fields rowfile.Row
		if rowfile.Decode(line, &fields) != nil {
			return
		}
		r, err := row("line 1", fields, nil, "text")
		if err != nil {
			if stillhouse.KindOf(err) != stillhouse.Invalid {
				t.Errorf("%q: %v is not the user's to mend", line, err)
			}
			return
		}
		if r.Name != "line 1" || r.Text == nil && r.Messages == nil && (r.Prompt == nil || r.Completion == nil) {
			t.Errorf("%q became a row without anything to train on: %+v", line, r)
		}
	})
}
