package rowfile

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"stillhouse"
)

func zipped(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJSONArray(t *testing.T) {
	text := "\xef\xbb\xbf \n[{\"a\": 2.50},\n 7, null, {\"a\":\"\xff\"}, [],\n{\"b\":[1, 2]}\n]\n"
	want := []found{
		{Place: "item 1", Row: Row{"a": json.RawMessage("2.50")}},
		{Place: "item 2", Bad: "the item is not a JSON object: it is a JSON number"},
		{Place: "item 3", Bad: "the item is not a JSON object: it is null"},
		{Place: "item 4", Bad: "the item is not valid UTF-8"},
		{Place: "item 5", Bad: "the item is not a JSON object: it is a JSON array"},
		{Place: "item 6", Row: Row{"b": json.RawMessage("[1, 2]")}},
	}
	for name, data := range map[string]string{"a.json": text, "a.json.gz": zipped(t, text)} {
		rows, err := readAll(write(t, name, data))
		if d := cmp.Diff(want, rows); err != nil || d != "" {
			t.Error(name, err, d)
		}
	}
	rows, err := readAll(write(t, "rows.jsonl.gz", zipped(t, "{\"a\":1}\n\n{\"a\":2}")))
	if err != nil || len(rows) != 2 || rows[1].Place != "line 3" {
		t.Error(rows, err)
	}
}

func TestJSONArraysThatCannotBeRead(t *testing.T) {
	whole := zipped(t, strings.Repeat(`{"a":"some text"}`+"\n", 1000))
	for _, c := range []struct{ name, data, say string }{
		{"none.json", "[]", "has no rows"},
		{"open.json", `[{"a":1},`, "the JSON array breaks off at item 2"},
		{"cut.json", `[{"a":1},{"a"`, "the JSON array breaks off at item 2"},
		{"word.json", `[{"a":1},{a}]`, "item 2 of the JSON array cannot be read"},
		{"more.json", "[{\"a\":1}]\n[{\"a\":1}]", "there is more after the end of the JSON array"},
		{"long.json", `[{"a":1},{"a":"` + strings.Repeat("x", MaxLine) + `"}]`, "item 2 is longer than 64 MiB"},
		{"cut.jsonl.gz", whole[:len(whole)-20], "the gzip data is cut off or damaged"},
		{"head.jsonl.gz", whole[:5], "the gzip data is cut off or damaged"},
		{"none.jsonl.gz", zipped(t, ""), "has no rows"},
	} {
		path := write(t, c.name, c.data)
		_, err := readAll(path)
		if err == nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), path) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v, not %q", c.name, err, c.say)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{`[{"a":1},{"b":[{}]}]`, " [", "[]", "\xef\xbb\xbf[{}]", "[1,{}", "\x1f\x8b\x08", `{"a":1}`} {
		f.Add([]byte(seed))
	}
	f.Add([]byte(zipped(f, `[{"a":"b"}]`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := newText(bytes.NewReader(data))
		if err != nil {
			return
		}
		for range 10_000 {
			row, err := r.next()
			if _, bad := err.(*BadRow); err != nil && !bad {
				return
			}
			for name, v := range row {
				if !json.Valid(v) {
					t.Fatalf("%s: column %q is %q", r.word(), name, v)
				}
			}
		}
	})
}
