package rowfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

// parquetOf writes rows of a schema, in JSON, in row groups of 50, with the Arrow schema beside them as pyarrow does.
func parquetOf(t testing.TB, schema *arrow.Schema, rows string, o ...parquet.WriterProperty) string {
	t.Helper()
	b, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(append(o, parquet.WithMaxRowGroupLength(50))...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err == nil {
		err = errors.Join(w.Write(b), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var talks = arrow.NewSchema([]arrow.Field{
	{Name: "question", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "messages", Type: stillhouse.ConversationType, Nullable: true},
	{Name: "answer", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "a.b", Type: arrow.FixedWidthTypes.Boolean},
}, nil)

func talk(i int) string {
	return fmt.Sprintf(`{"question":"%d?","messages":[{"role":"system","content":"turn %d"},{"role":"user","content":"turn 1"}],"answer":%d,"a.b":true}`, i, i, 2*i)
}

func talksOf(t testing.TB, n int, o ...parquet.WriterProperty) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = talk(i)
	}
	return parquetOf(t, talks, "["+strings.Join(rows, ",")+"]", o...)
}

func TestParquetRows(t *testing.T) {
	const n = 2500 // in several batches
	data := talksOf(t, n)
	rows, err := readAll(write(t, "named-otherwise.bin", data))
	if err != nil || len(rows) != n {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		got, _ := json.Marshal(r.Row)
		var want Row
		if err := json.Unmarshal([]byte(talk(i)), &want); err != nil {
			t.Fatal(err)
		}
		want["messages"] = json.RawMessage(fmt.Sprintf(`[{"content":"turn %d","role":"system"},{"content":"turn 1","role":"user"}]`, i))
		if w, _ := json.Marshal(want); string(w) != string(got) || r.Place != fmt.Sprint("row ", i+1) {
			t.Fatalf("%s is %s, not %s", r.Place, got, w)
		}
	}

	f, err := Open(write(t, "rows.parquet", data), "a.b", "answer", "none")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, all := f.Columns(); !all || strings.Join(names, " ") != "question messages answer a.b" {
		t.Errorf("columns %v, all: %t", names, all)
	}
	r, err := f.Next(context.Background())
	if d := cmp.Diff(Row{"a.b": json.RawMessage("true"), "answer": json.RawMessage("0")}, r); d != "" || err != nil {
		t.Error(err, d)
	}
	if rows, err := readAll(write(t, "rows.parquet", data), "none"); err != nil || len(rows) != n || len(rows[n-1].Row) != 0 {
		t.Errorf("without the column: %d rows, %v", len(rows), err)
	}
	if _, err := readAll(write(t, "rows.parquet", talksOf(t, 0))); err == nil || !strings.Contains(err.Error(), "has no rows") {
		t.Errorf("no rows: %v", err)
	}
}

// TestParquetTypes reads what other writers store.
func TestParquetTypes(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "q", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "l", Type: arrow.LargeListOf(arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "d", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "t", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
	}, nil)
	const rows = `[{"d":"k","l":[0.5,null],"q":"<a>","t":"2026-01-02"},{"d":null,"l":null,"q":"\ufffd","t":null}]`
	b, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	// In memory the types are as written, in a file they are Parquet's.
	var inMemory []Row
	for i := range int(b.NumRows()) {
		r := Row{}
		for c, f := range schema.Fields() {
			if r[f.Name], err = Value(b.Column(c), i); err != nil {
				t.Fatal(err)
			}
		}
		inMemory = append(inMemory, r)
	}
	list, err := readAll(write(t, "x.parquet", parquetOf(t, schema, rows)))
	if err != nil {
		t.Fatal(err)
	}
	var want []map[string]any
	if err := json.Unmarshal([]byte(rows), &want); err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		for _, r := range []Row{inMemory[i], list[i].Row} {
			got := map[string]any{}
			for name, raw := range r {
				var v any
				if err := json.Unmarshal(raw, &v); err != nil {
					t.Fatal(err)
				}
				got[name] = v
			}
			if d := cmp.Diff(w, got); d != "" {
				t.Error(d)
			}
		}
	}
}

func TestParquetTextThatIsNotUTF8(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "q", Type: arrow.ListOf(arrow.BinaryTypes.String)}}, nil)
	data := parquetOf(t, schema, `[{"q":["fine"]},{"q":["fin@"]},{"q":["good"]}]`, parquet.WithDictionaryDefault(false), parquet.WithStats(false))
	rows, err := readAll(write(t, "x.parquet", strings.ReplaceAll(data, "fin@", "fin\xff")))
	want := []found{
		{Place: "row 1", Row: Row{"q": json.RawMessage(`["fine"]`)}},
		{Place: "row 2", Bad: `column "q": it is not valid UTF-8`},
		{Place: "row 3", Row: Row{"q": json.RawMessage(`["good"]`)}},
	}
	if d := cmp.Diff(want, rows); d != "" || err != nil {
		t.Error(err, d)
	}
}

// TestDamagedParquet cuts and flips files: each is an error, or is read where the damage is in nothing that matters.
func TestDamagedParquet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.parquet")
	for name, data := range map[string]string{
		"plain":      talksOf(t, 120, parquet.WithDictionaryDefault(false)),
		"dictionary": talksOf(t, 120, parquet.WithCompression(compress.Codecs.Snappy)),
		"gzip":       talksOf(t, 120, parquet.WithCompression(compress.Codecs.Gzip)),
		"zstd":       talksOf(t, 120, parquet.WithCompression(compress.Codecs.Zstd)),
	} {
		try := func(how string, data []byte, columns ...string) error {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			before := allocated()
			_, err := readAll(path, columns...)
			if used := allocated() - before; used > 64<<20 {
				t.Errorf("%s, %s: took %d MB: %v", name, how, used>>20, err)
			}
			if err != nil && (stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), path)) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			return err
		}
		for n := 1; n < len(data); n += 1 + len(data)/30 {
			if how := fmt.Sprintf("cut to %d bytes", n); try(how, []byte(data[:n])) == nil {
				t.Errorf("%s, %s: no error", name, how)
			}
		}
		// In the footer, the lowest bit of a number's first byte is its sign: sizes below zero make pqarrow panic on
		// goroutines of its own.
		footer := len(data) - 8 - int(binary.LittleEndian.Uint32([]byte(data[len(data)-8:])))
		for i := footer; i < len(data) && name == "plain"; i++ {
			flipped := []byte(data)
			flipped[i] ^= 1
			_ = try(fmt.Sprintf("byte %d", i), flipped, "messages")
		}
		draw := rand.New(rand.NewPCG(1, uint64(len(data))))
		failed := 0
		for i := range 200 {
			flipped := []byte(data)
			for range 1 + i%3 {
				flipped[draw.IntN(len(flipped))] ^= byte(1 + draw.IntN(255))
			}
			if try(fmt.Sprintf("flip %d", i), flipped, [][]string{nil, {"messages"}, {"question"}, {"none"}}[i%4]...) != nil {
				failed++
			}
		}
		if failed == 0 {
			t.Errorf("%s: no flipped byte was noticed", name)
		}
	}
}

// allocated is the number of bytes ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestParquetErrors(t *testing.T) {
	path := write(t, "x.parquet", talksOf(t, 1))
	try := func(do func() error) error {
		return Parquet(path, memory.DefaultAllocator, func(*pqarrow.FileReader, metadata.KeyValueMetadata) error { return do() })
	}
	if err := try(func() error { panic("at the disco") }); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "at the disco") {
		t.Errorf("a panic: %v", err)
	}
	if err := try(func() error { return context.Canceled }); !errors.Is(err, context.Canceled) || stillhouse.KindOf(err) == stillhouse.Invalid {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzParquet(f *testing.F) {
	f.Add([]byte(talksOf(f, 2)))
	f.Add([]byte(talksOf(f, 2, parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryDefault(false))))
	path := filepath.Join(f.TempDir(), "rows.parquet")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, columns := range [][]string{nil, {"messages"}} {
			rows, err := readAll(path, columns...)
			if err != nil && stillhouse.KindOf(err) != stillhouse.Invalid {
				t.Fatalf("not an invalid error: %v", err)
			}
			for _, r := range rows {
				for name, v := range r.Row {
					if !json.Valid(v) {
						t.Fatalf("%s: column %q is %q", r.Place, name, v)
					}
				}
			}
		}
	})
}

// TestZstdBytes holds the shared encoder against those that arrow-go takes for levels.
func TestZstdBytes(t *testing.T) {
	codec, err := compress.GetCodec(compress.Codecs.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	shared := codec.(sharedZstd)
	rnd := rand.New(rand.NewPCG(3, 4))
	text := make([]byte, 1<<18)
	for i := range text {
		text[i] = "etaoin shrdlu"[rnd.IntN(13)]
	}
	for _, n := range []int{0, 1, 15, 300, 64 << 10, len(text)} {
		got := shared.EncodeLevel(nil, text[:n], compress.DefaultCompressionLevel)
		if want := shared.zstdCodec.EncodeLevel(nil, text[:n], compress.DefaultCompressionLevel); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d packed, not %d, or others", n, len(got), len(want))
		}
		if back, err := compress.Decode(codec, make([]byte, n), got); err != nil || !bytes.Equal(back, text[:n]) {
			t.Errorf("%d bytes: they came back changed: %v", n, err)
		}
	}
}
