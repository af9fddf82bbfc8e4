package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// A fakeHub answers as the Hub does for one model, org/name: small files itself, with the git blob's sha1 as ETag;
// .safetensors by a redirect to another host (another port here), with the sha256 in X-Linked-Etag.
type fakeHub struct {
	files map[string][]byte
	hub   *httptest.Server
	cdn   *httptest.Server
	token string // that is asked for, if any

	mu       sync.Mutex
	log      []string // METHOD path [range]
	tokens   []string // that the cdn was sent
	answer   func(w http.ResponseWriter, req *http.Request) bool
	cut      int // how many bytes of a large file are sent before the connection breaks; 0: all
	cuts     int // how many times
	ranges   bool
	hashes   map[string]string // in place of the true ones
	progress map[string]int64  // since the last options
}

func newHub(t *testing.T) *fakeHub {
	h := &fakeHub{ranges: true, hashes: map[string]string{}, progress: map[string]int64{}, files: map[string][]byte{
		"config.json": []byte(`{"model_type": "llama"}`), "tokenizer.json": []byte(`{"model": {}}`),
		"tokenizer_config.json": []byte(`{}`), "model.safetensors": []byte(strings.Repeat("0123456789", 100_000)),
		"pytorch_model.bin": []byte("pickle"), "README.md": []byte("# name"), "onnx/model.safetensors": []byte("no"),
		"additional_chat_templates/tool_use.jinja": []byte("{{ tools }}"),
	}}
	h.hub = httptest.NewServer(http.HandlerFunc(h.serve))
	h.cdn = httptest.NewServer(http.HandlerFunc(h.serveCDN))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.cdn.Close)
	return h
}

func (h *fakeHub) options(t *testing.T) Options {
	for _, name := range []string{"HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
		"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", t.TempDir())
	h.progress = map[string]int64{}
	return Options{Endpoint: h.hub.URL, CacheDir: t.TempDir(), wait: func(context.Context, time.Duration) error { return nil },
		Progress: func(file string, done, total int64) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if done > total || done < h.progress[file] {
				t.Errorf("%s: progress goes back or beyond the end", file)
			}
			h.progress[file] = done
		}}
}

func (h *fakeHub) hash(name string) string {
	if sum, ok := h.hashes[name]; ok {
		return sum
	}
	raw := h.files[name]
	if strings.HasSuffix(name, ".safetensors") {
		sum := sha256.Sum256(raw)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(raw), raw)))
	return hex.EncodeToString(sum[:])
}

func (h *fakeHub) note(req *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, strings.TrimSpace(req.Method+" "+req.URL.Path+" "+req.Header.Get("Range")))
}

func (h *fakeHub) count(prefix string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Error-Code", code)
	w.WriteHeader(status)
}

func (h *fakeHub) serve(w http.ResponseWriter, req *http.Request) {
	h.note(req)
	if h.answer != nil && h.answer(w, req) {
		return
	}
	if h.token != "" && req.Header.Get("Authorization") != "Bearer "+h.token {
		refuse(w, http.StatusUnauthorized, "GatedRepo")
		return
	}
	const api, resolve = "/api/models/org/name/revision/", "/org/name/resolve/" + commit + "/"
	switch {
	case strings.HasPrefix(req.URL.Path, api):
		if r := strings.TrimPrefix(req.URL.Path, api); r != "main" && r != "refs/pr/1" && r != commit {
			refuse(w, http.StatusNotFound, "RevisionNotFound")
			return
		}
		type sibling struct {
			Name string `json:"rfilename"`
		}
		out := struct {
			SHA      string    `json:"sha"`
			Siblings []sibling `json:"siblings"`
		}{SHA: commit}
		for name := range h.files {
			out.Siblings = append(out.Siblings, sibling{name})
		}
		_ = json.NewEncoder(w).Encode(out)
	case strings.HasPrefix(req.URL.Path, resolve):
		name := strings.TrimPrefix(req.URL.Path, resolve)
		raw, ok := h.files[name]
		if !ok {
			refuse(w, http.StatusNotFound, "EntryNotFound")
			return
		}
		w.Header().Set("X-Repo-Commit", commit)
		if strings.HasSuffix(name, ".safetensors") {
			w.Header().Set("X-Linked-Etag", `"`+h.hash(name)+`"`)
			w.Header().Set("X-Linked-Size", fmt.Sprint(len(raw)))
			w.Header().Set("Location", h.cdn.URL+"/"+name+"?signature=secret")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("ETag", `W/"`+h.hash(name)+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
		if req.Method != http.MethodHead {
			_, _ = w.Write(raw)
		}
	default:
		refuse(w, http.StatusNotFound, "RepoNotFound")
	}
}

func (h *fakeHub) serveCDN(w http.ResponseWriter, req *http.Request) {
	h.note(req)
	h.mu.Lock()
	if t := req.Header.Get("Authorization"); t != "" {
		h.tokens = append(h.tokens, t)
	}
	cut := 0
	if h.cuts > 0 {
		h.cuts--
		cut = h.cut
	}
	h.mu.Unlock()
	raw, from := h.files[strings.TrimPrefix(req.URL.Path, "/")], 0
	if _, err := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from); err == nil && h.ranges {
		if from >= len(raw) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(raw)-1, len(raw)))
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)-from))
		w.WriteHeader(http.StatusPartialContent)
		raw = raw[from:]
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
	}
	if cut > 0 && cut < len(raw) {
		_, _ = w.Write(raw[:cut])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(raw)
}
