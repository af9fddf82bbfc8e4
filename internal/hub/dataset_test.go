package hub

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func noWait() Options {
	return Options{wait: func(context.Context, time.Duration) error { return nil }}
}

func newDatasetHub(t *testing.T) *testkit.Hub {
	return testkit.StartHub(t, &testkit.Hub{Name: "org/set", Files: map[string]map[string][]byte{
		"main":            {"README.md": []byte("# set"), "data/train.jsonl": []byte(`{"a":1}`)},
		ConvertedRevision: {"default/train/0000.parquet": []byte(strings.Repeat("0123456789", 1000)), "default/train/0001.parquet": []byte("more")},
	}})
}

func TestDataset(t *testing.T) {
	h := newDatasetHub(t)
	d, err := OpenDataset(t.Context(), "org/set", "", noWait())
	require.NoError(t, err)
	require.Equal(t, []string{"README.md", "data/train.jsonl"}, d.Files())
	require.Equal(t, h.Commit("main"), d.Commit())
	path, err := d.File(t.Context(), "data/train.jsonl")
	require.NoError(t, err)
	repo := filepath.Join(os.Getenv("HF_HOME"), "hub", "datasets--org--set")
	require.Equal(t, filepath.Join(repo, "snapshots", h.Commit("main"), "data", "train.jsonl"), path, "where huggingface_hub keeps it")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, string(raw))
	require.Zero(t, h.Asked("GET /datasets/org/set/resolve/"+h.Commit("main")+"/README.md"), "only what is asked for is downloaded")

	h.Cut = 2
	d, err = OpenDataset(t.Context(), "org/set", ConvertedRevision, noWait())
	require.NoError(t, err)
	path, err = d.File(t.Context(), "default/train/0000.parquet")
	require.NoError(t, err)
	raw, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("0123456789", 1000), string(raw), "put together of what came before each cut")
	before := h.Asked("GET /" + h.Commit(ConvertedRevision))
	_, err = d.File(t.Context(), "default/train/0000.parquet")
	require.NoError(t, err)
	require.Equal(t, before, h.Asked("GET /"+h.Commit(ConvertedRevision)), "it is in the cache")

	// Offline, and when the Hub is down: the whole list is known, not only what was downloaded.
	for name, prepare := range map[string]func(*Options){
		"offline": func(o *Options) { o.Offline = true },
		"down":    func(o *Options) { o.Endpoint = "http://127.0.0.1:1" },
	} {
		for _, revision := range []string{ConvertedRevision, h.Commit(ConvertedRevision)} {
			o := noWait()
			prepare(&o)
			d, err := OpenDataset(t.Context(), "org/set", revision, o)
			require.NoError(t, err, name)
			require.Len(t, d.Files(), 2)
			_, err = d.File(t.Context(), "default/train/0000.parquet")
			require.NoError(t, err, name)
			_, err = d.File(t.Context(), "default/train/0001.parquet")
			require.Error(t, err, name)
		}
	}
}

func TestDatasetToken(t *testing.T) {
	h := newDatasetHub(t)
	h.Token = "hf_secret"
	_, err := OpenDataset(t.Context(), "org/set", "", noWait())
	require.ErrorContains(t, err, "is gated")
	t.Setenv("HF_TOKEN", "hf_secret")
	d, err := OpenDataset(t.Context(), "org/set", ConvertedRevision, noWait())
	require.NoError(t, err)
	_, err = d.File(t.Context(), "default/train/0001.parquet")
	require.NoError(t, err)
	require.Zero(t, h.Leaked(), "the token goes to the Hub only")
}

func TestDatasetRefusals(t *testing.T) {
	h := newDatasetHub(t)
	for _, c := range []struct{ name, revision, want string }{
		{"org/other", "", "check the name"},
		{"org/set", "v9", `org/set has no revision "v9"`},
		{"org/se t", "", "look like org/name"},
		{"org/set", "../x", "is not a revision"},
	} {
		_, err := OpenDataset(t.Context(), c.name, c.revision, noWait())
		require.ErrorContains(t, err, c.want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), c.want)
	}
	d, err := OpenDataset(t.Context(), "org/set", ConvertedRevision, noWait())
	require.NoError(t, err)
	_, err = d.File(t.Context(), "none.parquet")
	require.ErrorContains(t, err, "has no file none.parquet")
	h.Hash = strings.Repeat("ab", 32)
	_, err = d.File(t.Context(), "default/train/0001.parquet")
	require.ErrorContains(t, err, "is not what the Hub says it is, and was deleted")
	h.Refuse = http.StatusUnauthorized
	_, err = OpenDataset(t.Context(), "org/set", "", noWait())
	require.ErrorContains(t, err, "there is no dataset org/set, or it is private or gated")
	h.Refuse = http.StatusServiceUnavailable
	_, err = OpenDataset(t.Context(), "org/set", "", noWait())
	require.ErrorContains(t, err, "503", "main was never listed: there is nothing to fall back to")
	require.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
	o := noWait()
	o.Offline = true
	_, err = OpenDataset(t.Context(), "org/none", "", o)
	require.ErrorContains(t, err, "is not in the cache")
}

// A dataset whose list names files outside its folder cannot make anyone write there.
func TestDatasetHostileNames(t *testing.T) {
	testkit.StartHub(t, &testkit.Hub{Name: "org/set", Files: map[string]map[string][]byte{"main": {"../../evil.parquet": []byte("x"), `..\evil.parquet`: []byte("x")}}})
	d, err := OpenDataset(t.Context(), "org/set", "", noWait())
	require.NoError(t, err)
	for _, name := range d.Files() {
		_, err = d.File(t.Context(), name)
		require.ErrorContains(t, err, "not a name to write to")
	}
}
