package prompts

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/testkit"
)

func texts(ps []stillhouse.Prompt) (out []string) {
	for _, p := range ps {
		out = append(out, p.Prompt[len(p.Prompt)-1].Content)
	}
	return out
}

// folder makes files with one prompt each, which is the file's name.
func folder(t testing.TB, names ...string) string {
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(`{"prompt":"`+name+`"}`), 0o600))
	}
	return dir
}

func TestSeveralFilesAreOneDataset(t *testing.T) {
	dir := folder(t, "b.jsonl", "a.jsonl", "deep/er/c.jsonl", "x[1].jsonl", "notes.txt")
	in := func(names ...string) (p Paths) {
		for _, n := range names {
			p = append(p, filepath.Join(dir, n))
		}
		return p
	}
	for _, tc := range []struct {
		path Paths
		want string
	}{
		{in("*.jsonl"), "a.jsonl b.jsonl x[1].jsonl"},
		{in("**/*.jsonl"), "a.jsonl b.jsonl deep/er/c.jsonl x[1].jsonl"},
		{in("{b,a}.jsonl"), "a.jsonl b.jsonl"},
		{in("b.jsonl", "a.jsonl", "*.jsonl"), "b.jsonl a.jsonl x[1].jsonl"},
		{in("x[1].jsonl"), "x[1].jsonl"}, // a file of that name comes before a glob
	} {
		got, err := read(Rows{Path: tc.path})
		require.NoError(t, err, tc.path)
		assert.Equal(t, tc.want, strings.Join(texts(got.Rows), " "))
		assert.Equal(t, filepath.Base(texts(got.Rows)[0]), got.Rows[0].Source)
	}
	_, err := read(Rows{Path: in("*.parquet")})
	require.ErrorContains(t, err, "no file is matched by")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	for _, bad := range []Paths{{""}, {"a", ""}, {"["}, {"{a"}, {"hf://models/a/b"}, {"hf://datasets/a"}, {"hf://datasets/a/b@"}, {"hf://datasets/a/b/c/d/e"}} {
		_, err = read(Rows{Path: bad})
		require.ErrorContains(t, err, "prompts.path", bad)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), bad)
	}
}

// A bad row and a row seen before are told with the file that they are in.
func TestPlacesInSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.parquet")
	require.NoError(t, os.WriteFile(a, []byte("{\"question\":\"What is 1 + 1?\"}\n{\"question\":\"\"}"), 0o600))
	require.NoError(t, os.WriteFile(b, parquetOf(t, 3), 0o600))
	got, err := read(Rows{Path: Paths{a, b}, Prompt: "question", OnBadRow: OnBadRowSkip})
	require.NoError(t, err)
	assert.Equal(t, []BadRow{
		{Place: "a.jsonl line 2", Reason: "bad_row", Detail: `column "question": the prompt is empty`},
		{Place: "b.parquet row 2", Reason: "duplicate", Detail: "the same prompt as a.jsonl line 1"},
	}, got.Bad)
	_, err = read(Rows{Path: Paths{b, a}, Prompt: "question"})
	require.ErrorContains(t, err, a+", line 2: ")
	_, err = read(Rows{Path: Paths{a, b}, Prompt: "q"})
	require.ErrorContains(t, err, `there is no column "q" (prompts.prompt)`)
}

func TestPathsInYAML(t *testing.T) {
	for text, want := range map[string]Paths{"path: a": {"a"}, "path: [a, b]": {"a", "b"}, "path: []": nil, "path: ''": nil} {
		var o Rows
		require.NoError(t, yaml.Unmarshal([]byte(text), &o), text)
		assert.Equal(t, want, o.Path, text)
		out, err := yaml.Marshal(map[string]Paths{"path": o.Path})
		require.NoError(t, err)
		var again Rows
		require.NoError(t, yaml.Unmarshal(out, &again), string(out))
		assert.Equal(t, want, again.Path, string(out))
	}
	var o Rows
	require.ErrorContains(t, yaml.Unmarshal([]byte("path: {a: b}"), &o), "wants a path or a list of them")
}

func startHub(t *testing.T) *testkit.Hub {
	jsonl := func(text string) []byte { return []byte(`{"question":"` + text + `"}`) }
	return testkit.StartHub(t, &testkit.Hub{Name: "org/set", Files: map[string]map[string][]byte{
		"main": {"README.md": []byte("#"), "data/a.jsonl": jsonl("a"), "data/b.jsonl": jsonl("b"), "test.jsonl": jsonl("t")},
		"v1":   {"data/a.jsonl": jsonl("old")},
		hub.ConvertedRevision: {"main/train/0000.parquet": parquetOf(t, 40), "main/train/0001.parquet": parquetOf(t, 60),
			"main/test/0000.parquet": parquetOf(t, 3), "big/partial-train/0000.parquet": parquetOf(t, 2)},
	}})
}

func TestHubDatasets(t *testing.T) {
	h := startHub(t)
	got, err := read(Rows{Path: Paths{"hf://datasets/org/set/main/train"}, Prompt: "question"})
	require.NoError(t, err)
	assert.Len(t, got.Rows, 60)
	assert.Equal(t, map[string]int64{"duplicate": 40}, got.Account.Dropped, "both files begin with the same rows")
	commit := h.Commit(hub.ConvertedRevision)[:12]
	assert.Equal(t, "org/set@"+commit+"/main/train/0000.parquet", got.Rows[0].Source)
	assert.Equal(t, "org/set@"+commit+"/main/train/0001.parquet row 1", got.Bad[0].Place)
	assert.Equal(t, "the same prompt as org/set@"+commit+"/main/train/0000.parquet row 1", got.Bad[0].Detail)

	for path, want := range map[string]int{
		"hf://datasets/org/set/main/test":                     3,
		"hf://datasets/org/set@~parquet/main/test":            3,
		"hf://datasets/org/set@refs/convert/parquet/*/test/*": 3,
		"hf://datasets/org/set/big":                           2,
		"hf://datasets/org/set/big/partial-train":             2,
		"hf://datasets/org/set/data/*.jsonl":                  2,
		"hf://datasets/org/set/**/*.jsonl":                    3,
		"hf://datasets/org/set@main/test.jsonl":               1,
		"hf://datasets/org/set@v1/data/a.jsonl":               1,
	} {
		got, err := read(Rows{Path: Paths{path}, Prompt: "question"})
		require.NoError(t, err, path)
		assert.Len(t, got.Rows, want, path)
	}
	for path, says := range map[string]string{
		"hf://datasets/org/set":               "there is more than one split: name one of big/partial-train, main/test, main/train",
		"hf://datasets/org/set/main":          "name one of main/test, main/train",
		"hf://datasets/org/set/main/dev":      "there is no main/dev: what can stand here is big/partial-train, main/test, main/train",
		"hf://datasets/org/set/big/train":     "of the beginning of big/train only: name big/partial-train",
		"hf://datasets/org/set@v1/main/train": "a revision of the dataset itself has none, so name its files by a glob",
		"hf://datasets/org/set/*.csv":         "the files that can be read are data/a.jsonl, data/b.jsonl, test.jsonl",
		"hf://datasets/org/set@v2/a.jsonl":    `has no revision "v2"`,
		"hf://datasets/org/none/a/b":          "check the name",
	} {
		_, err := read(Rows{Path: Paths{path}, Prompt: "question"})
		require.ErrorContains(t, err, says, path)
		assert.ErrorContains(t, err, "prompts.path", path)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), path)
	}
	delete(h.Files, hub.ConvertedRevision)
	_, err = read(Rows{Path: Paths{"hf://datasets/org/set/main/train"}, Prompt: "question"})
	require.ErrorContains(t, err, "name its files, as hf://datasets/org/set/data/*.parquet")
}

// Files are downloaded when their turn comes: the first hundred rows of a large dataset need its first file only.
func TestHubDownloadsWhatIsRead(t *testing.T) {
	h := startHub(t)
	got, err := read(Rows{Path: Paths{"hf://datasets/org/set/main/train"}, Prompt: "question", Limit: 40})
	require.NoError(t, err)
	assert.Len(t, got.Rows, 40)
	commit := h.Commit(hub.ConvertedRevision)
	assert.Equal(t, 1, h.Asked("GET /"+commit+"/main/train/0000"))
	assert.Zero(t, h.Asked("GET /"+commit+"/main/train/0001"))
	assert.Zero(t, h.Asked("HEAD /datasets/org/set/resolve/"+commit+"/main/train/0001"))

	h.Refuse = http.StatusBadGateway // the second time it is there already, also when the Hub is down
	t.Setenv("HF_HUB_OFFLINE", "1")
	again, err := read(Rows{Path: Paths{"hf://datasets/org/set/main/train"}, Prompt: "question", Limit: 40})
	require.NoError(t, err)
	assert.Equal(t, got.Rows, again.Rows)
}

// The token is read from the environment, by its name, and is in no error.
func TestHubToken(t *testing.T) {
	h := startHub(t)
	h.Token = "hf_planted"
	o := Rows{Path: Paths{"hf://datasets/org/set/main/test"}, Prompt: "question"}
	t.Setenv("HF_TOKEN", "hf_wrong")
	_, err := read(o)
	require.ErrorContains(t, err, "HF_TOKEN")
	assert.NotContains(t, err.Error(), "hf_wrong")
	t.Setenv("HF_TOKEN", "hf_planted")
	_, err = read(o)
	require.NoError(t, err)
	assert.Zero(t, h.Leaked())
}
