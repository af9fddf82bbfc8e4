package hub

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

func TestLocalDirectory(t *testing.T) {
	dir := t.TempDir()
	got, err := Resolve(t.Context(), dir, Options{})
	require.NoError(t, err)
	require.Equal(t, dir, got)
	file := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = Resolve(t.Context(), file, Options{})
	require.ErrorContains(t, err, "is a file: give the model's directory")
	for _, missing := range []string{filepath.Join(dir, "no"), "./no", "../no", "a/b/c", "no/"} {
		_, err = Resolve(t.Context(), missing, Options{})
		require.ErrorContains(t, err, "there is no directory", missing)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
	file = filepath.Join(dir, "model.Q4_0.GGUF")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	got, err = Resolve(t.Context(), file, Options{})
	require.NoError(t, err)
	require.Equal(t, file, got)
	_, err = Resolve(t.Context(), "model.gguf", Options{})
	require.ErrorContains(t, err, "there is no file model.gguf")
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"a b", "org/na me", "org/a..b", "org/a--b", "org/name@", "org/name@../x", "org/name@a//b", "org/name@/x",
		"org/name@x?y", "org/" + strings.Repeat("a", 100)} {
		_, err := Resolve(t.Context(), bad, Options{})
		require.Error(t, err, bad)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), bad)
	}
	for _, bad := range []string{"ftp://x", "hub", "https://user:secret@host", "https://host?x=secret"} {
		_, err := Resolve(t.Context(), "org/name", Options{Endpoint: bad})
		require.ErrorContains(t, err, "HF_ENDPOINT", bad)
		require.NotContains(t, err.Error(), "secret")
	}
}

// TestDownload checks the layout of the cache: what huggingface_hub would have made.
func TestDownload(t *testing.T) {
	h := newHub(t)
	o := h.options(t)
	dir, err := Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	repo := filepath.Join(o.CacheDir, "models--org--name")
	require.Equal(t, filepath.Join(repo, "snapshots", commit), dir)
	want := []string{"additional_chat_templates/tool_use.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
	var got []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			got = append(got, name)
		}
		return err
	}))
	require.Equal(t, want, got, "pickles, other files and other folders are not downloaded")
	for _, name := range want {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, h.files[name], raw)
		link, err := os.Readlink(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("../", 2+strings.Count(name, "/"))+"blobs/"+h.hash(name), link)
		require.Equal(t, int64(len(raw)), h.progress[name])
	}
	ref, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	require.NoError(t, err)
	require.Equal(t, commit, string(ref))

	before := len(h.log)
	again, err := Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	require.Equal(t, dir, again)
	require.Equal(t, before+1, len(h.log), "a second time only asks for the commit")

	o.Offline = true
	for _, name := range []string{"org/name", "org/name@" + commit} {
		again, err = Resolve(t.Context(), name, o)
		require.NoError(t, err)
		require.Equal(t, dir, again)
	}
	require.Equal(t, before+1, len(h.log))
	require.NoError(t, os.Remove(filepath.Join(dir, "model.safetensors")))
	_, err = Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "the weights are missing")
	_, err = Resolve(t.Context(), "org/other", o)
	require.ErrorContains(t, err, "is not in the cache")
}

// A repository with an adapter and no model's weights is an adapter.
func TestDownloadAdapter(t *testing.T) {
	h := newHub(t)
	delete(h.files, "model.safetensors")
	h.files["adapter_config.json"], h.files["adapter_model.safetensors"], h.files["adapter_model.bin"] = []byte(`{"peft_type": "LORA"}`), []byte("weights"), []byte("pickle")
	for _, with := range []bool{true, false} { // config.json, which some leave beside it
		if !with {
			delete(h.files, "config.json")
		}
		o := h.options(t)
		dir, err := Resolve(t.Context(), "org/name", o)
		require.NoError(t, err)
		for name := range h.files {
			_, err := os.Stat(filepath.Join(dir, name))
			kept := strings.HasPrefix(name, "adapter_") && !strings.HasSuffix(name, ".bin") || strings.HasPrefix(name, "tokenizer") || name == "config.json" || strings.HasSuffix(name, ".jinja")
			require.Equal(t, kept, err == nil, name)
		}
		o.Offline = true
		again, err := Resolve(t.Context(), "org/name", o)
		require.NoError(t, err)
		require.Equal(t, dir, again)
		require.NoError(t, os.Remove(filepath.Join(dir, "adapter_model.safetensors")))
		_, err = Resolve(t.Context(), "org/name", o)
		require.ErrorContains(t, err, "adapter_model.safetensors is missing")
	}
	delete(h.files, "adapter_model.safetensors")
	_, err := Resolve(t.Context(), "org/name", h.options(t))
	require.ErrorContains(t, err, "there is no adapter_model.safetensors: choose an adapter that has it (pickled weights are not read)")
	delete(h.files, "adapter_config.json")
	_, err = Resolve(t.Context(), "org/name", h.options(t))
	require.ErrorContains(t, err, "this is not a model that transformers saved, nor an adapter of PEFT's")
	h.files["config.json"], h.files["model.safetensors"], h.files["adapter_config.json"] = []byte("{}"), []byte("w"), []byte("{}")
	dir, err := Resolve(t.Context(), "org/name", h.options(t))
	require.NoError(t, err)
	_, err = os.Stat(filepath.Join(dir, "adapter_config.json"))
	require.Error(t, err, "a model is none, whatever lies beside it")
}

func TestRevisions(t *testing.T) {
	h := newHub(t)
	o := h.options(t)
	dir, err := Resolve(t.Context(), "org/name@refs/pr/1", o)
	require.NoError(t, err)
	ref, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(dir)), "refs", "refs", "pr", "1"))
	require.NoError(t, err)
	require.Equal(t, commit, string(ref))
	_, err = Resolve(t.Context(), "org/name@"+commit, o)
	require.NoError(t, err)
	_, err = Resolve(t.Context(), "org/name@v9", o)
	require.ErrorContains(t, err, `org/name has no revision "v9"`)
}

func TestShards(t *testing.T) {
	h := newHub(t)
	h.files["model.safetensors.index.json"] = []byte(`{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}`)
	h.files["model-00001-of-00002.safetensors"] = []byte("one")
	h.files["model-00002-of-00002.safetensors"] = []byte("two")
	o := h.options(t)
	dir, err := Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, "model-00001-of-00002.safetensors"))
	require.FileExists(t, filepath.Join(dir, "model-00002-of-00002.safetensors"))
	require.NoFileExists(t, filepath.Join(dir, "model.safetensors"), "the index says which weights count")
	require.NoError(t, os.Remove(filepath.Join(dir, "model-00002-of-00002.safetensors")))
	o.Offline = true
	_, err = Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "model-00002-of-00002.safetensors is missing")

	for index, want := range map[string]string{
		`{"weight_map": {"a": "../../../evil.safetensors"}}`: "shards lie beside it",
		`{"weight_map": {"a": "gone.safetensors"}}`:          "names gone.safetensors, which is not there",
		`{"weight_map": {}}`:                                 "names no file",
		`{`:                                                  "not valid JSON",
	} {
		h.files["model.safetensors.index.json"] = []byte(index)
		_, err = Resolve(t.Context(), "org/name", h.options(t))
		require.ErrorContains(t, err, want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
}

func TestNoWeights(t *testing.T) {
	h := newHub(t)
	delete(h.files, "model.safetensors")
	_, err := Resolve(t.Context(), "org/name", h.options(t))
	require.ErrorContains(t, err, "no .safetensors weights")
	delete(h.files, "config.json")
	_, err = Resolve(t.Context(), "org/name", h.options(t))
	require.ErrorContains(t, err, "no config.json")
}

// TestCutConnection breaks the connection in mid-file, more often than a vain try would be repeated.
func TestCutConnection(t *testing.T) {
	h := newHub(t)
	h.cut, h.cuts = 100_000, 8
	dir, err := Resolve(t.Context(), "org/name", h.options(t))
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, h.files["model.safetensors"], raw)
	require.Equal(t, 1, h.count("GET /model.safetensors bytes=100000-"))
	require.Equal(t, 1, h.count("GET /model.safetensors bytes=800000-"))
}

// TestResume goes on where an earlier process stopped, also when the server knows no ranges.
func TestResume(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		h := newHub(t)
		h.ranges = ranges
		o := h.options(t)
		blobs := filepath.Join(o.CacheDir, "models--org--name", "blobs")
		require.NoError(t, os.MkdirAll(blobs, 0o755))
		incomplete := filepath.Join(blobs, h.hash("model.safetensors")+".incomplete")
		require.NoError(t, os.WriteFile(incomplete, h.files["model.safetensors"][:400_000], 0o644))
		if !ranges {
			o.Progress = nil // it starts again
		}
		_, err := Resolve(t.Context(), "org/name", o)
		require.NoError(t, err)
		require.Equal(t, 1, h.count("GET /model.safetensors bytes=400000-"))
		require.NoFileExists(t, incomplete)
	}
}

// TestBadLeftover starts again when what an earlier process left isn't the beginning of the file.
func TestBadLeftover(t *testing.T) {
	for _, left := range []string{strings.Repeat("x", 400_000), strings.Repeat("x", 1_000_000), strings.Repeat("x", 1_000_001)} {
		h := newHub(t)
		o := h.options(t)
		o.Progress = nil
		blobs := filepath.Join(o.CacheDir, "models--org--name", "blobs")
		require.NoError(t, os.MkdirAll(blobs, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(blobs, h.hash("model.safetensors")+".incomplete"), []byte(left), 0o644))
		dir, err := Resolve(t.Context(), "org/name", o)
		require.NoError(t, err)
		raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		require.NoError(t, err)
		require.Equal(t, h.files["model.safetensors"], raw)
	}
}

func TestWrongHash(t *testing.T) {
	for name, sum := range map[string]string{"model.safetensors": strings.Repeat("ab", 32), "config.json": strings.Repeat("ab", 20)} {
		h := newHub(t)
		h.hashes[name] = sum
		o := h.options(t)
		_, err := Resolve(t.Context(), "org/name", o)
		require.ErrorContains(t, err, "is not what the Hub says it is, and was deleted", name)
		require.ErrorContains(t, err, name)
		left, err := filepath.Glob(filepath.Join(o.CacheDir, "models--org--name", "blobs", sum+"*"))
		require.NoError(t, err)
		require.Empty(t, left)
		require.NoFileExists(t, filepath.Join(o.CacheDir, "models--org--name", "snapshots", commit, name))
	}
}

func TestToken(t *testing.T) {
	h := newHub(t)
	h.token = "hf_secret"
	o := h.options(t)
	_, err := Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "is gated")
	require.ErrorContains(t, err, "HF_TOKEN")
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("HF_HOME"), "token"), []byte("hf_secret\n"), 0o600))
	_, err = Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	require.Empty(t, h.tokens, "the token goes to the Hub only")
	t.Setenv("HF_TOKEN", "hf_wrong")
	h.answer = func(w http.ResponseWriter, req *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err = Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "does not accept the token")
	require.NotContains(t, err.Error(), "hf_wrong")
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status     int
		code, want string
	}{
		{401, "RepoNotFound", "there is no model org/name, or it is private or gated: check the name, or set HF_TOKEN"},
		{403, "", "forbidden (403): set HF_TOKEN"},
		{403, "GatedRepo", "is gated"},
		{404, "RepoNotFound", "check the name"},
		{404, "", "check the name"},
		{418, "", "418"},
		{200, "", "does not answer as the Hub does"},
	} {
		h := newHub(t)
		h.answer = func(w http.ResponseWriter, req *http.Request) bool { refuse(w, c.status, c.code); return true }
		_, err := Resolve(t.Context(), "org/name", h.options(t))
		require.ErrorContains(t, err, c.want)
		require.Len(t, h.log, 1, "it isn't tried again")
	}
}

func TestTransientErrors(t *testing.T) {
	h := newHub(t)
	fails := map[string]int{}
	h.answer = func(w http.ResponseWriter, req *http.Request) bool {
		key := req.Method + req.URL.Path
		if fails[key]++; fails[key] > 2 {
			return false
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader([]int{503, 429}[fails[key]-1])
		return true
	}
	o := h.options(t)
	var pauses []time.Duration
	o.wait = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
	dir, err := Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	require.Equal(t, 7*time.Second, pauses[0])

	h.answer = func(w http.ResponseWriter, req *http.Request) bool { w.WriteHeader(500); return true }
	again, err := Resolve(t.Context(), "org/name", o)
	require.NoError(t, err, "what is whole in the cache is used when the Hub is down")
	require.Equal(t, dir, again)
	o.CacheDir = t.TempDir()
	before := len(h.log)
	_, err = Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "500")
	require.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
	require.Equal(t, before+tries, len(h.log))
	o.Endpoint = "http://127.0.0.1:1"
	_, err = Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "can't reach 127.0.0.1:1")
}

// TestSecretAddress checks that the signed address of a file is in no error.
func TestSecretAddress(t *testing.T) {
	h := newHub(t)
	h.cut, h.cuts = 1, 1_000_000
	h.cdn.Close()
	_, err := Resolve(t.Context(), "org/name", h.options(t))
	require.ErrorContains(t, err, "can't reach")
	require.NotContains(t, err.Error(), "secret")
}

func TestHostileNames(t *testing.T) {
	h := newHub(t)
	h.files["../../evil.safetensors"] = []byte("x")
	h.files["additional_chat_templates/../../evil.jinja"] = []byte("x")
	_, err := Resolve(t.Context(), "org/name", h.options(t))
	require.NoError(t, err)
	require.Zero(t, h.count("HEAD /evil"))
	h = newHub(t)
	h.hashes["config.json"] = "../../../evil"
	_, err = Resolve(t.Context(), "org/name", h.options(t))
	require.ErrorContains(t, err, "no usable ETag")
}

func TestCancel(t *testing.T) {
	h := newHub(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := h.options(t)
	o.Progress = func(string, int64, int64) { cancel() }
	_, err := Resolve(ctx, "org/name", o)
	require.ErrorIs(t, err, context.Canceled)
}

// TestTogether downloads the same model many times at once into one cache.
func TestTogether(t *testing.T) {
	h := newHub(t)
	o := h.options(t)
	o.Progress = nil
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = Resolve(context.Background(), "org/name", o) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, 1, h.count("GET /model.safetensors"), "one downloads, the others wait")
}

func TestFullDisk(t *testing.T) {
	require.ErrorContains(t, full(&os.PathError{Op: "write", Path: "blob", Err: syscall.ENOSPC}), "the disk is full")
	require.ErrorContains(t, enough(t.TempDir(), 1<<62), "MB left")
	h := newHub(t)
	o := h.options(t)
	h.answer = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodHead || !strings.HasSuffix(req.URL.Path, "model.safetensors") {
			return false
		}
		w.Header().Set("X-Linked-Etag", h.hash("model.safetensors"))
		w.Header().Set("X-Linked-Size", "4611686018427387904")
		w.Header().Set("Location", h.cdn.URL)
		w.WriteHeader(http.StatusFound)
		return true
	}
	_, err := Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "free some, or set HF_HOME to a larger disk")
	require.Zero(t, h.count("GET /model.safetensors"))
}

func TestEnvironment(t *testing.T) {
	h := newHub(t)
	h.options(t)
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_ENDPOINT", h.hub.URL+"/")
	t.Setenv("HF_TOKEN", " hf_x\n")
	t.Setenv("TRANSFORMERS_OFFLINE", "yes")
	var o Options
	o.EnsureDefaults()
	require.Equal(t, []any{h.hub.URL, "hf_x", filepath.Join(home, "hub"), true}, []any{o.Endpoint, o.Token, o.CacheDir, o.Offline})
	t.Setenv("HF_HUB_CACHE", filepath.Join(home, "elsewhere"))
	t.Setenv("TRANSFORMERS_OFFLINE", "0")
	dir, err := Resolve(t.Context(), "org/name", Options{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, "elsewhere", "models--org--name", "snapshots", commit), dir)
}

// FuzzIndex looks for an index that names files outside its folder.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"weight_map": {"a": "model-00001-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map": {"a": "../x.safetensors"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		shards, err := shardsOf(raw)
		for _, s := range shards {
			if err != nil || filepath.Base(s) != s || !filepath.IsLocal(s) {
				t.Fatalf("%q, %v", s, err)
			}
		}
	})
}
