package prompts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func promptFile(t testing.TB, name string, data []byte) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func lines(t testing.TB, rows ...string) string {
	return promptFile(t, "rows.jsonl", []byte(strings.Join(rows, "\n")))
}

func read(o Rows) (PromptRows, error) { return Read(context.Background(), Options{Rows: o}) }

func question(i int) string { return fmt.Sprintf("What is %d + %d?", i, i) }

func user(text string) []stillhouse.Message {
	return []stillhouse.Message{{Role: "user", Content: text}}
}

func TestReadJSONL(t *testing.T) {
	path := lines(t, "\xef\xbb\xbf"+`{"q":"one","a":"1","id":7,"s":"Be brief.","tools":[{"type":"function"}],"level":2.50}`, "",
		`{"q":[{"role":"system","content":"S"},{"role":"user","content":"two"}],"a":2.50,"id":"b","s":"ignored","level":null}`,
		`{"q":"three","a":null,"id":"c","s":null,"tools":"[{\"b\":1,\"a\":2}]"}`, "  ")
	got, err := read(Rows{Path: Paths{path}, Prompt: "q", Reference: "a", ID: "id", System: "s", Tools: "tools", Meta: []string{"level"}})
	require.NoError(t, err)
	system := func(text string, ms ...stillhouse.Message) []stillhouse.Message {
		return append([]stillhouse.Message{{Role: "system", Content: text}}, ms...)
	}
	assert.Equal(t, []stillhouse.Prompt{
		{ID: "7", Prompt: system("Be brief.", user("one")...), Reference: new("1"), Tools: new(`[{"type":"function"}]`), Source: "rows.jsonl", Meta: new(`{"level":2.50}`)},
		{ID: "b", Prompt: system("S", user("two")...), Reference: new("2.50"), Source: "rows.jsonl", Meta: new(`{"level":null}`)},
		{ID: "c", Prompt: user("three"), Tools: new(`[{"a":2,"b":1}]`), Source: "rows.jsonl", Meta: new(`{"level":null}`)},
	}, got.Rows)
	assert.Equal(t, stillhouse.Account{In: 3, Kept: 3, Dropped: map[string]int64{}}, got.Account)

	got, err = read(Rows{Path: Paths{path}, Prompt: "q", Limit: 2, Source: "mine"})
	require.NoError(t, err)
	require.Len(t, got.Rows, 2)
	assert.Equal(t, "mine", got.Rows[0].Source)
	assert.Len(t, got.Rows[0].ID, 32)
	assert.NotEqual(t, got.Rows[0].ID, got.Rows[1].ID)
	assert.Nil(t, got.Rows[0].Reference)
}

func TestIDFollowsFromTheContent(t *testing.T) {
	a, err := read(Rows{Path: Paths{lines(t, `{"prompt":"one"}`, `{"prompt":"two"}`)}})
	require.NoError(t, err)
	b, err := read(Rows{Path: Paths{lines(t, `{"x":1,"question":[{"content":"two","role":"user"}]}`)}, Prompt: "question"})
	require.NoError(t, err)
	assert.Equal(t, a.Rows[1].ID, b.Rows[0].ID, "a text is the user's only message")
}

func TestBadPrompts(t *testing.T) {
	const good = `{"prompt":"fine","id":"x"}`
	for name, tc := range map[string]struct {
		line string
		o    Rows
		says string
	}{
		"broken line":         {`{"prompt":"half`, Rows{}, "line 2: the line is not a JSON object: it breaks off"},
		"no object":           {`["a"]`, Rows{}, "line 2: the line is not a JSON object"},
		"null":                {`null`, Rows{}, "line 2: the line is not a JSON object"},
		"two values":          {`{"prompt":"a"} {"prompt":"b"}`, Rows{}, "line 2: the line is not a JSON object: there is more"},
		"not UTF-8":           {"{\"prompt\":\"a\xff\"}", Rows{}, "line 2: the line is not valid UTF-8"},
		"no prompt":           {`{"other":1}`, Rows{}, `line 2: column "prompt": there is no prompt`},
		"null prompt":         {`{"prompt":null}`, Rows{}, "there is no prompt"},
		"empty prompt":        {`{"prompt":"  \n"}`, Rows{}, "the prompt is empty"},
		"a number":            {`{"prompt":7}`, Rows{}, "the prompt is a number"},
		"no messages":         {`{"prompt":[]}`, Rows{}, "without messages"},
		"no message":          {`{"prompt":["a"]}`, Rows{}, "message 0 is a text"},
		"unknown role":        {`{"prompt":[{"role":"boss","content":"a"}]}`, Rows{}, "message 0 has the role boss"},
		"no content":          {`{"prompt":[{"role":"user"}]}`, Rows{}, "message 0 has nothing as its content"},
		"ends with assistant": {`{"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, Rows{}, "must end before the assistant speaks"},
		"empty last":          {`{"prompt":[{"role":"user","content":" "}]}`, Rows{}, "the last message has no text"},
		"same id":             {`{"prompt":"b","id":"x"}`, Rows{ID: "id"}, `line 2: the id "x" is that of line 1 too`},
		"no id":               {`{"prompt":"b","id":null}`, Rows{ID: "id"}, `column "id" holds no id`},
		"reference":           {`{"prompt":"b","a":["x"]}`, Rows{Reference: "a"}, `column "a" is neither a text nor a number`},
		"other reference":     {`{"prompt":"fine","id":"y"}`, Rows{Reference: "id"}, "the prompt is that of line 1 with another reference"},
		"tools":               {`{"prompt":"b","a":{"x":1}}`, Rows{Tools: "a"}, "the tools are an object"},
		"tools' JSON":         {`{"prompt":"b","a":"[1"}`, Rows{Tools: "a"}, "the tools are not JSON"},
		"system":              {`{"prompt":"b","a":["x"]}`, Rows{System: "a"}, `column "a" is not a text`},
	} {
		tc.o.Path = Paths{lines(t, good, tc.line, `{"prompt":"last","id":"z"}`)}
		_, err := read(tc.o)
		require.ErrorContains(t, err, tc.says, name)
		assert.ErrorContains(t, err, "on_bad_row: skip", name)
		assert.ErrorContains(t, err, tc.o.Path[0], name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)

		tc.o.OnBadRow = OnBadRowSkip
		got, err := read(tc.o)
		require.NoError(t, err, name)
		assert.Len(t, got.Rows, 2, name)
		assert.Equal(t, stillhouse.Account{In: 3, Kept: 2, Dropped: map[string]int64{"bad_row": 1}}, got.Account, name)
		require.Len(t, got.Bad, 1, name)
		assert.Equal(t, "line 2", got.Bad[0].Place, name)
		assert.Contains(t, "line 2: "+got.Bad[0].Detail, tc.says, name)
	}
}

func TestSamePromptTwiceIsDropped(t *testing.T) {
	got, err := read(Rows{Path: Paths{lines(t, `{"prompt":"a"}`, `{"prompt":"b"}`, `{"prompt":"a"}`)}})
	require.NoError(t, err)
	assert.Len(t, got.Rows, 2)
	assert.Equal(t, stillhouse.Account{In: 3, Kept: 2, Dropped: map[string]int64{"duplicate": 1}}, got.Account)
	assert.Equal(t, []BadRow{{Place: "line 3", Reason: "duplicate", Detail: "the same prompt as line 1"}}, got.Bad)
}

func TestFilesThatHoldNoPrompts(t *testing.T) {
	for name, tc := range map[string]struct {
		o    Rows
		says string
	}{
		"no path":        {Rows{}, "prompts.path: is missing"},
		"no file":        {Rows{Path: Paths{filepath.Join(t.TempDir(), "none.jsonl")}}, "there is no file"},
		"a directory":    {Rows{Path: Paths{t.TempDir()}}, "is a directory"},
		"empty":          {Rows{Path: Paths{lines(t)}}, "is empty"},
		"blank lines":    {Rows{Path: Paths{lines(t, "", " ", "")}}, "has no rows"},
		"column":         {Rows{Path: Paths{lines(t, `{"question":"a","answer":"b"}`)}, Prompt: "prompts"}, `there is no column "prompts" (prompts.prompt): the columns there are answer, question`},
		"column, skip":   {Rows{Path: Paths{lines(t, `{"question":"a"}`, `{"q":"a"}`)}, Prompt: "p", OnBadRow: "skip"}, `has no column "p" (prompts.prompt): the columns there are question, q`},
		"reference":      {Rows{Path: Paths{lines(t, `{"prompt":"a","b":1}`)}, Reference: "c"}, `no column "c" (prompts.reference): the columns there are b, prompt`},
		"meta":           {Rows{Path: Paths{lines(t, `{"prompt":"a","b":1}`)}, Meta: []string{"c"}}, `no column "c" (prompts.meta)`},
		"all bad":        {Rows{Path: Paths{lines(t, `{"prompt":""}`)}, OnBadRow: "skip"}, "none of the 1 rows"},
		"limit":          {Rows{Path: Paths{"x"}, Limit: -1}, "prompts.limit: is -1"},
		"on_bad_row":     {Rows{Path: Paths{"x"}, OnBadRow: "ignore"}, "it must be error or skip"},
		"not Parquet":    {Rows{Path: Paths{promptFile(t, "x.parquet", []byte("PAR2 nothing of the kind"))}}, "no Parquet file"},
		"Parquet's head": {Rows{Path: Paths{promptFile(t, "x.parquet", []byte("PAR1"))}}, "no Parquet file"},
	} {
		_, err := read(tc.o)
		require.ErrorContains(t, err, tc.says, name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
	}
}

// parquetOf writes rows with a question, a conversation, an answer and a few types more.
func parquetOf(t testing.TB, n int) []byte {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "question", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "messages", Type: stillhouse.ConversationType, Nullable: true},
		{Name: "answer", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "level", Type: arrow.PrimitiveTypes.Float64},
		{Name: "a.b", Type: arrow.FixedWidthTypes.Boolean},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range n {
		b.Field(0).(*array.StringBuilder).Append(question(i))
		list := b.Field(1).(*array.ListBuilder)
		list.Append(true)
		item := list.ValueBuilder().(*array.StructBuilder)
		for j, role := range []string{"system", "user"} {
			item.Append(true)
			item.FieldBuilder(0).(*array.StringBuilder).Append(role)
			item.FieldBuilder(1).(*array.StringBuilder).Append(fmt.Sprint("turn ", i, j))
		}
		if i == 1 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.Int64Builder).Append(int64(2 * i))
		}
		b.Field(3).(*array.Float64Builder).Append(float64(i) / 2)
		b.Field(4).(*array.BooleanBuilder).Append(i%2 == 0)
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(50)), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	require.NoError(t, w.Write(b.NewRecordBatch()))
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestReadParquet(t *testing.T) {
	path := promptFile(t, "rows.parquet", parquetOf(t, 120))
	got, err := read(Rows{Path: Paths{path}, Prompt: "question", Reference: "answer", Meta: []string{"level", "a.b"}})
	require.NoError(t, err)
	require.Len(t, got.Rows, 120)
	assert.Equal(t, user(question(119)), got.Rows[119].Prompt)
	assert.Equal(t, "238", *got.Rows[119].Reference)
	assert.Nil(t, got.Rows[1].Reference)
	assert.Equal(t, `{"a.b":false,"level":59.5}`, *got.Rows[119].Meta)

	got, err = read(Rows{Path: Paths{path}, Prompt: "messages", Limit: 70})
	require.NoError(t, err)
	require.Len(t, got.Rows, 70)
	assert.Equal(t, []stillhouse.Message{{Role: "system", Content: "turn 69 0"}, {Role: "user", Content: "turn 69 1"}}, got.Rows[69].Prompt)

	path = promptFile(t, "named-otherwise.bin", parquetOf(t, 3))
	_, err = read(Rows{Path: Paths{path}, Prompt: "prompt"})
	require.ErrorContains(t, err, `no column "prompt" (prompts.prompt): the columns there are question, messages, answer, level, a.b`)
	_, err = read(Rows{Path: Paths{path}, Prompt: "level"})
	require.ErrorContains(t, err, `row 1: column "level": the prompt is a number`)
	_, err = read(Rows{Path: Paths{promptFile(t, "empty.parquet", parquetOf(t, 0))}, Prompt: "question"})
	require.ErrorContains(t, err, "has no rows")
}

func FuzzReadPrompts(f *testing.F) {
	for _, seed := range []string{`{"prompt":"a","id":"1"}`, "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}]}\n\n{\"prompt\":\"b\"}", "\xef\xbb\xbf{}", `{"prompt":"\ud800"}`, `{"prompt`} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "rows")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Rows{{Path: Paths{path}}, {Path: Paths{path}, OnBadRow: OnBadRowSkip}} {
			got, err := read(o)
			if err != nil {
				if stillhouse.KindOf(err) != stillhouse.Invalid {
					t.Fatalf("not an invalid error: %v", err)
				}
				continue
			}
			if !got.Account.Balanced() || int(got.Account.Kept) != len(got.Rows) {
				t.Fatalf("the books do not balance: %+v", got.Account)
			}
			for _, p := range got.Rows {
				if p.ID == "" || len(p.Prompt) == 0 || p.Prompt[len(p.Prompt)-1].Content == "" {
					t.Fatalf("not a prompt: %+v", p)
				}
			}
		}
	})
}
