package rowfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

func write(t testing.TB, name, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A found is a row of a file with its place, or why it is bad.
type found struct {
	Place, Bad string
	Row        Row
}

func readAll(path string, columns ...string) (rows []found, err error) {
	f, err := Open(path, columns...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		r, err := f.Next(context.Background())
		var bad *BadRow
		switch {
		case errors.As(err, &bad):
			rows = append(rows, found{Place: f.Place(), Bad: bad.Error()})
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return rows, err
		default:
			rows = append(rows, found{Place: f.Place(), Row: r})
		}
	}
}

func TestJSONL(t *testing.T) {
	path := write(t, "rows.jsonl", "\xef\xbb\xbf"+`{"b": {"z": 1, "a": 2.50},"a":"<é>"}`+"\r\n\r\n \t\n"+
		`{"a":`+"\n[1]\nnull\n7\n{} {}\n{\"a\":\"\xff\"}\n"+`{"c":null}`)
	rows, err := readAll(path, "a") // of JSONL all columns come
	if err != nil {
		t.Fatal(err)
	}
	want := []found{
		{Place: "line 1", Row: Row{"b": json.RawMessage(`{"z": 1, "a": 2.50}`), "a": json.RawMessage(`"<é>"`)}},
		{Place: "line 4", Bad: "the line is not a JSON object: it breaks off"},
		{Place: "line 5", Bad: "the line is not a JSON object: it is a JSON array"},
		{Place: "line 6", Bad: "the line is not a JSON object: it is null"},
		{Place: "line 7", Bad: "the line is not a JSON object: it is a JSON number"},
		{Place: "line 8", Bad: "the line is not a JSON object: there is more after the value"},
		{Place: "line 9", Bad: "the line is not valid UTF-8"},
		{Place: "line 10", Row: Row{"c": json.RawMessage("null")}},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
}

func TestColumns(t *testing.T) {
	f, err := Open(write(t, "rows.jsonl", `{"b":1,"a":2}`+"\n"+`{"c":1,"a":2}`))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, want := range []string{"", "a b", "a b c"} {
		if names, all := f.Columns(); strings.Join(names, " ") != want || all {
			t.Errorf("columns %v, all: %t, not %q", names, all, want)
		}
		_, _ = f.Next(context.Background())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe.jsonl")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, say string }{
		{filepath.Join(t.TempDir(), "none.jsonl"), "there is no file"},
		{t.TempDir(), "is a directory"},
		{pipe, "is a pipe or a device"},
		{write(t, "empty.jsonl", ""), "empty.jsonl is empty"},
		{write(t, "empty.parquet", ""), "empty.parquet is empty"},
		{write(t, "blank.jsonl", "\n \r\n"), "has no rows"},
		{write(t, "bom.jsonl", "\xef\xbb\xbf"), "has no rows"},
		{write(t, "long.jsonl", "{}\n"+strings.Repeat("x", MaxLine+1)), "line 2 is longer than 64 MiB"},
		{write(t, "x.parquet", "PAR2 nothing of the kind"), "no Parquet file"},
		{write(t, "x.bin", "PAR1"), "no Parquet file"},
	} {
		_, err := readAll(c.path)
		if err == nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), c.path) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v, not %q", c.path, err, c.say)
		}
	}
}

// TestLongestLine reads a line of just the length that is allowed.
func TestLongestLine(t *testing.T) {
	line := `{"a":"` + strings.Repeat("x", MaxLine-len(`{"a":""}`)-1) + `"}` + "\n"
	rows, err := readAll(write(t, "long.jsonl", line+`{"a":1}`))
	if err != nil || len(rows) != 2 || len(rows[0].Row["a"]) != MaxLine-len(`{"a":}`)-1 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func FuzzJSONL(f *testing.F) {
	for _, seed := range []string{`{"prompt":"a","id":"1"}`, "{\"prompt\":[{\"role\":\"user\"}]}\r\n\n{\"b\":2.50}", "\xef\xbb\xbf{}", `{"a":"\ud800"}`, `{"a`, "[]\nnull\n{}{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j := newJSONL(bytes.NewReader(data))
		for n := 0; ; n++ {
			r, err := j.next()
			if err == io.EOF {
				return
			}
			if n > bytes.Count(data, []byte("\n")) {
				t.Fatalf("more rows than lines in %q", data)
			}
			var bad *BadRow
			if err != nil && !errors.As(err, &bad) {
				t.Fatal(err)
			}
			for name, v := range r {
				if !json.Valid(v) || !j.known[name] {
					t.Fatalf("line %d: column %q is %q", j.number(), name, v)
				}
			}
		}
	})
}
