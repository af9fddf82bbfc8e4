package rowfile

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReferences(t *testing.T) {
	for text, want := range map[string]reference{
		"hf://datasets/o/n":                                    {name: "o/n"},
		"hf://datasets/o/n/":                                   {name: "o/n"},
		"hf://datasets/o/n/main/train":                         {name: "o/n", rest: "main/train"},
		"hf://datasets/o/n@v1/main/train":                      {name: "o/n", revision: "v1", rest: "main/train"},
		"hf://datasets/o/n@refs/pr/3/a.jsonl":                  {name: "o/n", revision: "refs/pr/3", rest: "a.jsonl"},
		"hf://datasets/o/n@refs%2Fpr%2F3/a.jsonl":              {name: "o/n", revision: "refs/pr/3", rest: "a.jsonl"},
		"hf://datasets/o/n@~parquet/c/s/*.parquet":             {name: "o/n", revision: "refs/convert/parquet", rest: "c/s/*.parquet"},
		"hf://datasets/o/n@refs/convert/parquet/c/s/0.parquet": {name: "o/n", revision: "refs/convert/parquet", rest: "c/s/0.parquet"},
		"hf://datasets/o/n/data/a/b/c.json":                    {name: "o/n", rest: "data/a/b/c.json"},
		"hf://datasets/o/n@v1":                                 {name: "o/n", revision: "v1"},
	} {
		got, isHub, err := parseReference(text)
		require.NoError(t, err, text)
		assert.True(t, isHub)
		assert.Equal(t, want, got, text)
	}
	_, isHub, _ := parseReference("data/hf.jsonl")
	assert.False(t, isHub)
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"hf://datasets/o/n@refs/pr/1/a.jsonl", "hf://datasets/o/n/c/s", "hf://datasets/o/n@%2f", "hf://", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, isHub, err := parseReference(s)
		if isHub != strings.HasPrefix(s, "hf://") {
			t.Fatalf("%q: %t", s, isHub)
		}
		if isHub && err == nil && (strings.Count(r.name, "/") != 1 || strings.HasPrefix(r.name, "/") || strings.HasSuffix(r.name, "/")) {
			t.Fatalf("%q: the name is %q", s, r.name)
		}
	})
}
