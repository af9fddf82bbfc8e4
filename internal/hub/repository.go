package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"stillhouse"
)

// A repository is one model or dataset on the Hub at one revision.
type repository struct {
	Options
	cache
	kind           string // model or dataset
	name, revision string
	locks          string // the folder of its lock files
}

func newRepository(kind, name, revision string, o Options) *repository {
	r := &repository{Options: o, kind: kind, name: name, revision: revision,
		cache: cache{filepath.Join(o.CacheDir, kind+"s--"+strings.ReplaceAll(name, "/", "--"))}}
	r.locks = filepath.Join(o.CacheDir, ".locks", filepath.Base(r.dir))
	return r
}

// page is the address of the repository; those of models have no folder of their own.
func (r *repository) page() string {
	if r.kind == "model" {
		return r.Endpoint + "/" + r.name
	}
	return r.Endpoint + "/" + r.kind + "s/" + r.name
}

var (
	weights  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors$`)
	template = regexp.MustCompile(`^additional_chat_templates/[A-Za-z0-9_][A-Za-z0-9._-]*\.jinja$`)
	small    = []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
		"special_tokens_map.json", "added_tokens.json", "chat_template.jinja"}
)

// The files of a PEFT adapter.
const (
	adapterConfig  = "adapter_config.json"
	adapterWeights = "adapter_model.safetensors"
)

// fetch downloads what the cache lacks of the revision.
func (r *repository) fetch(ctx context.Context) (string, error) {
	commit, files, err := r.list(ctx)
	if err != nil {
		return "", err
	}
	has := map[string]bool{}
	for _, f := range files {
		has[f] = true
	}
	adapter := has[adapterConfig] && !has["model.safetensors"] && !has[indexName]
	if !has["config.json"] && !adapter {
		return "", stillhouse.Invalidf("there is no config.json: this is not a model that transformers saved, nor an adapter of PEFT's")
	}
	var wanted []string
	for _, f := range files {
		if slices.Contains(small, f) || template.MatchString(f) || adapter && f == adapterConfig {
			wanted = append(wanted, f)
		}
	}
	for _, f := range wanted {
		if err := r.file(ctx, commit, f); err != nil {
			return "", err
		}
	}
	var shards []string
	switch {
	case r.NoWeights:
	case adapter && !has[adapterWeights]:
		return "", stillhouse.Invalidf("there is no %s: choose an adapter that has it (pickled weights are not read)", adapterWeights)
	case adapter:
		shards = []string{adapterWeights}
	default:
		if shards, err = r.weights(ctx, commit, has); err != nil {
			return "", err
		}
	}
	for _, f := range shards {
		if err := r.file(ctx, commit, f); err != nil {
			return "", err
		}
	}
	if err := r.remember(r.revision, commit); err != nil {
		return "", fmt.Errorf("write the cache: %w", full(err))
	}
	return r.snapshot(commit), nil
}

// weights are the weight files to download: those that the index names, else model.safetensors, else all that lie at
// the top. Pickles are never taken: reading one runs code.
func (r *repository) weights(ctx context.Context, commit string, has map[string]bool) ([]string, error) {
	if has[indexName] {
		if err := r.file(ctx, commit, indexName); err != nil {
			return nil, err
		}
		raw, err := os.ReadFile(filepath.Join(r.snapshot(commit), indexName))
		if err != nil {
			return nil, err
		}
		shards, err := shardsOf(raw)
		if err != nil {
			return nil, stillhouse.Invalidf("%w", err)
		}
		for _, s := range shards {
			if !has[s] {
				return nil, stillhouse.Invalidf("%s names %s, which is not there", indexName, s)
			}
		}
		return shards, nil
	}
	if has["model.safetensors"] {
		return []string{"model.safetensors"}, nil
	}
	var all []string
	for _, f := range sortedKeys(has) {
		if weights.MatchString(f) && !strings.HasPrefix(f, "consolidated") { // a second copy in another layout
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return nil, stillhouse.Invalidf("there are no .safetensors weights: choose a model that has them (pickled weights are not read)")
	}
	return all, nil
}

// list asks which commit the revision stands for and which files it has.
func (r *repository) list(ctx context.Context) (commit string, files []string, err error) {
	address := r.Endpoint + "/api/" + r.kind + "s/" + r.name + "/revision/" + url.PathEscape(r.revision)
	err = r.retry(ctx, func() error {
		resp, err := r.follow(ctx, http.MethodGet, address, nil, true)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return r.refused(resp, "")
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
		if err != nil {
			return stillhouse.Transientf("read the answer of %s: %w", r.Endpoint, plain(err))
		}
		var in struct {
			SHA      string `json:"sha"`
			Siblings []struct {
				Name string `json:"rfilename"`
			} `json:"siblings"`
		}
		if err := json.Unmarshal(raw, &in); err != nil || !commitName.MatchString(in.SHA) {
			return stillhouse.Invalidf("%s does not answer as the Hub does: is HF_ENDPOINT right?", r.Endpoint)
		}
		commit, files = in.SHA, nil
		for _, s := range in.Siblings {
			files = append(files, s.Name)
		}
		return nil
	})
	return commit, files, err
}

// tries is how often something is tried that makes no headway.
const tries = 5

// errStalled is wrapped when a server has sent nothing for a while.
var errStalled = errors.New("the server has sent nothing for a minute")

// A wait is a transient error of a server that says when to come back.
type wait struct {
	error
	after time.Duration
}

func (w *wait) Unwrap() error { return w.error }

// retry calls f until it gives no transient error, at most tries times.
func (r *repository) retry(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || stillhouse.KindOf(err) != stillhouse.Transient || try >= tries {
			return err
		}
		pause := time.Second << (try - 1)
		var w *wait
		if errors.As(err, &w) {
			pause = min(max(pause, w.after), 5*time.Minute)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e := r.wait(ctx, pause); e != nil {
			return e
		}
	}
}

// follow sends a request and follows its redirects: all of them, or with near only those that stay on the same host.
// The token goes to the Hub's own address only, never to where it redirects to.
func (r *repository) follow(ctx context.Context, method, address string, header http.Header, all bool) (*http.Response, error) {
	client := *r.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	home, err := url.Parse(r.Endpoint)
	if err != nil {
		return nil, err
	}
	for range 10 {
		req, err := http.NewRequestWithContext(ctx, method, address, nil)
		if err != nil {
			return nil, fmt.Errorf("the address of a file is not valid: %w", plain(err))
		}
		maps.Copy(req.Header, header)
		req.Header.Set("Accept-Encoding", "identity") // else the size is that of the compressed body
		req.Header.Set("User-Agent", "stillhouse")
		if r.Token != "" && req.URL.Scheme == home.Scheme && req.URL.Host == home.Host {
			req.Header.Set("Authorization", "Bearer "+r.Token)
		}
		resp, err := client.Do(req)
		if err != nil {
			if ctx.Err() != nil {
				if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
					return nil, stillhouse.Transientf("%s %s: %w", method, req.URL.Host, cause)
				}
				return nil, ctx.Err()
			}
			return nil, stillhouse.Transientf("can't reach %s: %w", req.URL.Host, plain(err))
		}
		if resp.StatusCode < 300 || resp.StatusCode > 399 || resp.StatusCode == http.StatusNotModified {
			return resp, nil
		}
		to, err := resp.Location()
		if err != nil || to.Scheme != "http" && to.Scheme != "https" {
			resp.Body.Close()
			return nil, stillhouse.Permanentf("%s redirects to nowhere", req.URL.Host)
		}
		if !all && (to.Host != req.URL.Host || resp.Header.Get("X-Linked-Etag") != "") {
			return resp, nil // it says here what the file is; what it redirects to only has the bytes
		}
		resp.Body.Close()
		address = to.String()
	}
	return nil, stillhouse.Permanentf("%s redirects without end", home.Host)
}

// plain takes the address off an error of net/http: addresses of files can hold signatures.
func plain(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns
	}
	return err
}

// refused says what an answer other than success means.
func (r *repository) refused(resp *http.Response, file string) error {
	what := r.name
	if file != "" {
		what += "/" + file
	}
	code := resp.Header.Get("X-Error-Code")
	switch s := resp.StatusCode; {
	case code == "GatedRepo":
		return stillhouse.Invalidf("%s is gated: ask for access on its page on the Hub, then set HF_TOKEN to a token of that account", what)
	case code == "RevisionNotFound":
		return stillhouse.Invalidf("%s has no revision %q", r.name, r.revision)
	case code == "EntryNotFound":
		return stillhouse.Invalidf("%s is not there", what)
	case s == http.StatusUnauthorized && r.Token != "":
		return stillhouse.Invalidf("%s does not accept the token (401): is HF_TOKEN right, and may it read %s?", r.Endpoint, r.name)
	case s == http.StatusUnauthorized:
		return stillhouse.Invalidf("there is no %s %s, or it is private or gated: check the name, or set HF_TOKEN", r.kind, r.name)
	case s == http.StatusForbidden:
		return stillhouse.Invalidf("access to %s is forbidden (403): set HF_TOKEN to a token that may read it", what)
	case s == http.StatusNotFound || s == http.StatusGone:
		return stillhouse.Invalidf("there is no %s on %s: check the name", what, r.Endpoint)
	case s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s >= 500:
		err := stillhouse.Transientf("%s answers %s for %s", resp.Request.URL.Host, resp.Status, what)
		if after, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && after > 0 {
			return &wait{err, time.Duration(min(after, 3600)) * time.Second}
		}
		return err
	}
	return stillhouse.Permanentf("%s answers %s for %s", resp.Request.URL.Host, resp.Status, what)
}

func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
