package rundir

import (
	"bytes"
	"context"
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
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"stillhouse"
)

func ptr[T any](v T) *T { return &v }

func candidates(n int) (rows []stillhouse.Candidate) {
	for i := range n {
		c := stillhouse.Candidate{
			Prompt: stillhouse.Prompt{ID: fmt.Sprint("p", i/4), Source: "test", Reference: ptr(fmt.Sprint(i / 4)),
				Prompt: []stillhouse.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: fmt.Sprintf("What is %d+%d? ü", i/4, i)}}},
			Sample: int32(i % 4), Completion: []stillhouse.Message{{Role: "assistant", Content: strings.Repeat("so ", i%7) + "it is"}},
			FinishReason: "stop", PromptTokens: 9, CompletionTokens: int32(i), Model: "m", RequestKey: fmt.Sprintf("%064x", i),
		}
		if i%3 == 0 {
			c.Reasoning, c.Reference, c.Tools = ptr(""), nil, ptr(`[{"name":"add"}]`)
			c.CachedTokens, c.System = ptr(int32(i)), ptr("Be brief.")
			c.LogProbs = []stillhouse.TokenLogProb{{Token: "it", LogProb: -0.25, Top: []stillhouse.AlternativeToken{{Token: "it", LogProb: -0.25}, {Token: "so", LogProb: -2}}}, {Token: " is"}}
		}
		rows = append(rows, c)
	}
	return rows
}

func scored(n int) (rows []stillhouse.Scored) {
	for i, c := range candidates(n) {
		s := stillhouse.Scored{Candidate: c, Reward: float64(i) / 3}
		if i%2 == 0 {
			s.Scores = []stillhouse.Score{{Name: "math", Score: 1, Verdict: stillhouse.Right, Evidence: "4 = 4"}, {Name: "length"}}
		}
		rows = append(rows, s)
	}
	return rows
}

func samples(n int) (rows []stillhouse.Sample) {
	for _, c := range candidates(n) {
		rows = append(rows, stillhouse.Sample{Prompt: c.Prompt.Prompt, Completion: c.Completion, PromptID: c.ID, Tools: c.Tools, Model: c.Model, Meta: c.Reasoning, LogProbs: c.LogProbs, System: c.System})
	}
	return rows
}

func batches(mem memory.Allocator, n int) map[string]arrow.RecordBatch {
	var prompts []stillhouse.Prompt
	for _, c := range candidates(n) {
		prompts = append(prompts, c.Prompt)
	}
	return map[string]arrow.RecordBatch{
		"prompts":    stillhouse.PromptBatch(mem, prompts),
		"candidates": stillhouse.CandidateBatch(mem, candidates(n)),
		"scored":     stillhouse.ScoredBatch(mem, scored(n)),
		"samples":    stillhouse.SampleBatch(mem, samples(n)),
	}
}

func store(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.parquet")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func encode(t testing.TB, b arrow.RecordBatch) []byte {
	t.Helper()
	data, err := EncodeParquet(b, map[string]string{stageKey: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParquetRoundTrip(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	for _, n := range []int{0, 1, 50, 3000} {
		for name, b := range batches(mem, n) {
			path := store(t, encode(t, b))
			got, err := ReadParquet(context.Background(), path, mem)
			if err != nil {
				t.Fatalf("%s, %d rows: %v", name, n, err)
			}
			if !got.Schema().Equal(b.Schema()) {
				t.Errorf("%s: the schema came back as\n%v\nnot\n%v", name, got.Schema(), b.Schema())
			}
			for i, f := range b.Schema().Fields() {
				if !arrow.TypeEqual(f.Type, got.Column(i).DataType(), arrow.CheckMetadata()) {
					t.Errorf("%s: column %s came back as %v", name, f.Name, got.Column(i).DataType())
				}
			}
			if !array.RecordEqual(b, got) {
				t.Errorf("%s, %d rows: the rows came back changed", name, n)
			}
			if footer, err := readFooter(path); err != nil || footer.rows != int64(n) {
				t.Errorf("%s, %d rows: footer %+v, %v", name, n, footer, err)
			}
			if schema, err := readSchema(path); err != nil || !schema.Equal(b.Schema()) {
				t.Errorf("%s, %d rows: schema %v, %v", name, n, schema, err)
			}
			got.Release()
			b.Release()
		}
	}
}

// TestParquetBytes writes the same rows from other pieces of memory.
func TestParquetBytes(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	const n = 700
	for name, b := range batches(mem, n) {
		want := encode(t, b)
		var pieces []arrow.RecordBatch
		for from := 0; from < n; {
			to := min(n, from+1+from%90)
			pieces = append(pieces, b.NewSlice(int64(from), int64(to)))
			from = to
		}
		joined, err := stillhouse.Concat(mem, b.Schema(), pieces)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadParquet(context.Background(), store(t, want), mem)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := stillhouse.Concat(mem, b.Schema(), []arrow.RecordBatch{again, b})
		if err != nil {
			t.Fatal(err)
		}
		slice := twice.NewSlice(n, 2*n)
		for how, other := range map[string]arrow.RecordBatch{"of pieces": joined, "read back": again, "a slice": slice} {
			if !bytes.Equal(encode(t, other), want) {
				t.Errorf("%s: rows %s give other bytes", name, how)
			}
		}
		for _, r := range append(pieces, joined, again, twice, slice, b) {
			r.Release()
		}
	}
}

func TestParquetColumns(t *testing.T) {
	b := stillhouse.ScoredBatch(memory.DefaultAllocator, scored(9))
	path := store(t, encode(t, b))
	got, err := ReadParquet(context.Background(), path, memory.DefaultAllocator, "scores", "prompt_id")
	if err != nil {
		t.Fatal(err)
	}
	if got.NumCols() != 2 || got.ColumnName(0) != "scores" || !array.Equal(got.Column(0), b.Column(b.Schema().FieldIndices("scores")[0])) {
		t.Errorf("read %v", got)
	}
	if _, err := ReadParquet(context.Background(), path, memory.DefaultAllocator, "nothing"); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("a column that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ReadParquet(ctx, path, memory.DefaultAllocator); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestForeignParquet reads what other writers store: large strings, dictionaries, several row groups, snappy.
func TestForeignParquet(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "q", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "l", Type: arrow.LargeListOf(arrow.StructOf(arrow.Field{Name: "role", Type: arrow.BinaryTypes.LargeString, Nullable: true})), Nullable: true},
		{Name: "d", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, Nullable: true},
	}, nil)
	b, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(
		`[{"q":"a","l":[{"role":"x"},{"role":null}],"d":"k"},{"q":null,"l":[],"d":null},{"q":"ü","l":null,"d":"k"}]`))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &buf, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(2)),
		pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(b), w.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := ReadParquet(context.Background(), store(t, buf.Bytes()), memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	want := arrow.NewSchema([]arrow.Field{
		{Name: "q", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "role", Type: arrow.BinaryTypes.String, Nullable: true})), Nullable: true},
		{Name: "d", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	text, _ := got.MarshalJSON()
	const rows = `{"d":"k","l":[{"role":"x"},{"role":null}],"q":"a"}{"d":null,"l":[],"q":null}{"d":"k","l":null,"q":"ü"}`
	if !got.Schema().Equal(want) || strings.Join(strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' }), "") != "["+strings.ReplaceAll(rows, "}{", "},{")+"]" {
		t.Errorf("read %v\n%s", got.Schema(), text)
	}
}

// TestDamagedParquet cuts a file at every length and flips every byte of it, in all the codecs that users bring.
func TestDamagedParquet(t *testing.T) {
	b := stillhouse.ScoredBatch(memory.DefaultAllocator, scored(40))
	rnd := rand.New(rand.NewPCG(4, 2))
	files := map[string][]byte{"own": encode(t, b)}
	for _, codec := range []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Uncompressed} {
		var buf bytes.Buffer
		w, err := pqarrow.NewFileWriter(b.Schema(), &buf, parquet.NewWriterProperties(parquet.WithCompression(codec)), pqarrow.NewArrowWriterProperties())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(b), w.Close()); err != nil {
			t.Fatal(err)
		}
		files[codec.String()] = buf.Bytes()
	}
	path := store(t, nil)
	read := func(data []byte) (arrow.RecordBatch, error) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return ReadParquet(context.Background(), path, memory.NewGoAllocator())
	}
	for name, data := range files {
		cuts, flips := 40, 120
		if name == "own" {
			flips = 500
		}
		for n := 0; n < len(data); n += 1 + len(data)/cuts {
			_, err := read(data[:n])
			if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		var seen, unseen int
		for i := 0; i < len(data); i += 1 + len(data)/flips {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << rnd.IntN(8)
			before := allocated()
			rows, err := read(bad)
			if used := allocated() - before; used > 64<<20 {
				t.Errorf("%s with byte %d of %d flipped: took %d MB: %v", name, i, len(data), used>>20, err)
			}
			switch {
			case err != nil && (stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), path)):
				t.Errorf("%s with byte %d flipped: %v", name, i, err)
			case err != nil:
				seen++
			case rows.Schema().Equal(b.Schema()) && !array.RecordEqual(rows, b):
				unseen++
			}
		}
		t.Logf("%s, %d bytes: %d flips are errors, %d change rows unseen", name, len(data), seen, unseen)
		if seen == 0 || name == "own" && unseen > 0 {
			t.Errorf("%s: %d flips are errors, %d change rows unseen", name, seen, unseen)
		}
	}
}

// allocated is the number of bytes ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func FuzzReadParquet(f *testing.F) {
	for _, b := range batches(memory.DefaultAllocator, 3) {
		f.Add(encode(f, b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := ReadParquet(context.Background(), store(t, data), memory.NewGoAllocator())
		if err == nil {
			_, _ = rows.MarshalJSON() // touches every value
		} else if stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Error(err)
		}
	})
}
