package testkit

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Hub answers as the Hugging Face Hub does for one dataset, owner/name: what it is at a revision, and its files. Those
// that end in .parquet come as large files do, by a redirect to another host (another port here), with their SHA-256 as
// the ETag; others come from itself, with the SHA-1 of the git blob.
type Hub struct {
	Name   string
	Files  map[string]map[string][]byte // by revision, then by name
	Token  string                       // that is asked for, if any
	Cut    int                          // so many answers with a large file break off in the middle
	Hash   string                       // of large files, in place of the true one
	Refuse int                          // a status that every request is answered with

	server, cdn *httptest.Server
	mu          sync.Mutex
	log         []string
	leaked      int
}

// StartHub serves until the test ends, and makes HF_ENDPOINT and HF_HOME point to it and to an empty cache.
func StartHub(t *testing.T, h *Hub) *Hub {
	t.Helper()
	h.server = httptest.NewServer(http.HandlerFunc(h.serve))
	h.cdn = httptest.NewServer(http.HandlerFunc(h.serveFile))
	t.Cleanup(h.server.Close)
	t.Cleanup(h.cdn.Close)
	for _, name := range []string{"HF_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_ENDPOINT", h.server.URL)
	t.Setenv("HF_HOME", t.TempDir())
	return h
}

// Commit is the commit of a revision: a hash of its name.
func (h *Hub) Commit(revision string) string {
	sum := sha1.Sum([]byte(revision))
	return hex.EncodeToString(sum[:])
}

// Asked counts the requests that begin with a method and a path.
func (h *Hub) Asked(prefix string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// Leaked counts the requests that took the token to another host.
func (h *Hub) Leaked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaked
}

func (h *Hub) note(r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, r.Method+" "+r.URL.Path)
}

// at gives the files of a revision, which may be named by its commit.
func (h *Hub) at(revision string) (files map[string][]byte, commit string) {
	for name, files := range h.Files {
		if c := h.Commit(name); name == revision || c == revision {
			return files, c
		}
	}
	return nil, ""
}

func (h *Hub) serve(w http.ResponseWriter, r *http.Request) {
	h.note(r)
	refuse := func(status int, code string) {
		w.Header().Set("X-Error-Code", code)
		w.WriteHeader(status)
	}
	if h.Refuse != 0 {
		refuse(h.Refuse, "")
		return
	}
	if h.Token != "" && r.Header.Get("Authorization") != "Bearer "+h.Token {
		refuse(http.StatusUnauthorized, "GatedRepo")
		return
	}
	api, resolve := "/api/datasets/"+h.Name+"/revision/", "/datasets/"+h.Name+"/resolve/"
	switch path := r.URL.EscapedPath(); {
	case strings.HasPrefix(path, api):
		revision, _ := url.PathUnescape(strings.TrimPrefix(path, api))
		files, commit := h.at(revision)
		if files == nil {
			refuse(http.StatusNotFound, "RevisionNotFound")
			return
		}
		list := []map[string]string{}
		for name := range files {
			list = append(list, map[string]string{"rfilename": name})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
	case strings.HasPrefix(path, resolve):
		commit, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, resolve), "/")
		files, _ := h.at(commit)
		raw, ok := files[name]
		if !ok {
			refuse(http.StatusNotFound, "EntryNotFound")
			return
		}
		if strings.HasSuffix(name, ".parquet") {
			sum := sha256.Sum256(raw)
			etag := hex.EncodeToString(sum[:])
			if h.Hash != "" {
				etag = h.Hash
			}
			w.Header().Set("X-Linked-Etag", `"`+etag+`"`)
			w.Header().Set("X-Linked-Size", fmt.Sprint(len(raw)))
			w.Header().Set("Location", h.cdn.URL+"/"+commit+"/"+name+"?signature=secret")
			w.WriteHeader(http.StatusFound)
			return
		}
		sum := sha1.Sum(slices.Concat([]byte(fmt.Sprintf("blob %d\x00", len(raw))), raw))
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
		if r.Method != http.MethodHead {
			_, _ = w.Write(raw)
		}
	default:
		refuse(http.StatusNotFound, "RepoNotFound")
	}
}

func (h *Hub) serveFile(w http.ResponseWriter, r *http.Request) {
	h.note(r)
	commit, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	files, _ := h.at(commit)
	raw, from := files[name], 0
	h.mu.Lock()
	if r.Header.Get("Authorization") != "" {
		h.leaked++
	}
	cut := h.Cut > 0
	h.Cut--
	h.mu.Unlock()
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && from < len(raw) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(raw)-1, len(raw)))
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)-from))
		w.WriteHeader(http.StatusPartialContent)
		raw = raw[from:]
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
	}
	if cut {
		_, _ = w.Write(raw[:len(raw)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(raw)
}
