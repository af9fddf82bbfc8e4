// Package hub finds model directories, local ones and those of the Hugging Face Hub, and the files of datasets there. What
// it downloads goes into the cache that the huggingface_hub library keeps, so that each finds what the other has fetched.
package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"stillhouse"
)

// defaultEndpoint is the Hub.
const defaultEndpoint = "https://huggingface.co"

// Options say where to look. The zero value reads the environment as huggingface_hub does.
type Options struct {
	Endpoint  string       // default $HF_ENDPOINT, else the Hub
	Token     string       // default $HF_TOKEN, else the file that `hf auth login` writes; sent to Endpoint only
	CacheDir  string       // default $HF_HUB_CACHE, else hub under $HF_HOME, else ~/.cache/huggingface/hub
	NoWeights bool         // of a model, download and want no weights: its tokenizer and configuration suffice
	Offline   bool         // look in the cache only; also set by $HF_HUB_OFFLINE or $TRANSFORMERS_OFFLINE
	Client    *http.Client // default one that gives up on a server silent for 30 seconds

	// Progress is called as the bytes of a file arrive; total is -1 when the server doesn't say.
	Progress func(file string, done, total int64)

	wait func(context.Context, time.Duration) error // between tries; tests replace it
}

// EnsureDefaults fills in what is empty from the environment.
func (o *Options) EnsureDefaults() {
	home := os.Getenv("HF_HOME")
	if home == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			cache = filepath.Join(userHome(), ".cache")
		}
		home = filepath.Join(cache, "huggingface")
	}
	home = expand(home)
	if o.Endpoint == "" {
		o.Endpoint = os.Getenv("HF_ENDPOINT")
	}
	if o.Endpoint == "" {
		o.Endpoint = defaultEndpoint
	}
	o.Endpoint = strings.TrimRight(o.Endpoint, "/")
	if o.Token == "" {
		o.Token = token(home)
	}
	if o.CacheDir == "" {
		o.CacheDir = expand(os.Getenv("HF_HUB_CACHE"))
	}
	if o.CacheDir == "" {
		o.CacheDir = filepath.Join(home, "hub")
	}
	o.Offline = o.Offline || isTrue(os.Getenv("HF_HUB_OFFLINE")) || isTrue(os.Getenv("TRANSFORMERS_OFFLINE"))
	if o.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 30 * time.Second
		o.Client = &http.Client{Transport: t}
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.wait == nil {
		o.wait = func(ctx context.Context, d time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(d):
				return nil
			}
		}
	}
}

// Validate names the option that is wrong.
func (o *Options) Validate() error {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return stillhouse.Invalidf("the Hub's address (HF_ENDPOINT) must look like https://host, without a user or a query")
	}
	if strings.ContainsFunc(o.Token, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return stillhouse.Invalidf("the Hub's token (HF_TOKEN) has characters that no token has: copy it again")
	}
	return nil
}

func token(home string) string {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.TrimSpace(os.Getenv(name)); t != "" {
			return t
		}
	}
	path := expand(os.Getenv("HF_TOKEN_PATH"))
	if path == "" {
		path = filepath.Join(home, "token")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

func isTrue(s string) bool {
	switch strings.ToUpper(s) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

func userHome() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return "."
	}
	return home
}

// expand replaces a leading ~ and variables.
func expand(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = userHome() + path[1:]
	}
	return os.ExpandEnv(path)
}

var (
	repoName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?$`)
	revisionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/-]*$`)
	commitName   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// parse reads org/name or org/name@revision.
func parse(name string) (repo, revision string, err error) {
	repo, revision, ok := strings.Cut(name, "@")
	if !ok {
		revision = "main"
	}
	if !repoName.MatchString(repo) || len(repo) > 96 || strings.Contains(repo, "--") || strings.Contains(repo, "..") {
		return "", "", stillhouse.Invalidf("%q is neither a directory nor a name on the Hub, which look like org/name or org/name@revision", name)
	}
	if !revisionName.MatchString(revision) || strings.Contains(revision, "..") || strings.Contains(revision, "//") || strings.HasSuffix(revision, "/") {
		return "", "", stillhouse.Invalidf("%q: %q is not a revision: give a branch, a tag or a commit", name, revision)
	}
	return repo, revision, nil
}

// isPath says whether a name is meant as a path, whatever lies there.
func isPath(name string) bool {
	return filepath.IsAbs(name) || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") ||
		strings.Count(name, "/") > 1 && !strings.Contains(name, "@") || strings.HasSuffix(name, "/") || isGGUF(name)
}

// isGGUF says whether a name is that of a GGUF file.
func isGGUF(name string) bool { return strings.EqualFold(filepath.Ext(name), ".gguf") }

// Resolve gives the directory of a model: a local directory or a .gguf file as it is, or that of a name on the Hub in the
// cache, downloaded where it is not there yet. Only what the program reads is downloaded: the configuration, the tokenizer
// and the safetensors weights; of a repository with an adapter and no model's weights, the adapter's.
//
// Its errors say what to do: the name is not there, the model is gated, the cache lacks it and there is no network, the
// disk is full, a file is not what the Hub says it is.
func Resolve(ctx context.Context, nameOrPath string, o Options) (dir string, err error) {
	if path := expand(nameOrPath); path != "" {
		if info, err := os.Stat(path); err == nil {
			if !info.IsDir() && !isGGUF(path) {
				return "", stillhouse.Invalidf("%s is a file: give the model's directory, or a .gguf file", nameOrPath)
			}
			return path, nil
		}
	}
	if isPath(nameOrPath) {
		what := "directory"
		if isGGUF(nameOrPath) {
			what = "file"
		}
		return "", stillhouse.Invalidf("there is no %s %s", what, nameOrPath)
	}
	repo, revision, err := parse(nameOrPath)
	if err != nil {
		return "", err
	}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return "", err
	}
	r := newRepository("model", repo, revision, o)
	if o.Offline {
		return r.offline(errors.New("HF_HUB_OFFLINE is set"))
	}
	dir, err = r.fetch(ctx)
	if err != nil && ctx.Err() == nil && stillhouse.KindOf(err) == stillhouse.Transient {
		if dir, offline := r.offline(err); offline == nil {
			return dir, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("model %s: %w", nameOrPath, err)
	}
	return dir, nil
}

// offline gives the directory that the cache has for the revision.
func (r *repository) offline(why error) (string, error) {
	commit := r.revision
	if !commitName.MatchString(commit) {
		raw, err := os.ReadFile(r.ref(r.revision))
		if err != nil {
			return "", stillhouse.Invalidf("model %s@%s is not in the cache %s (%w): download it once with a network, or give a local directory",
				r.name, r.revision, r.dir, why)
		}
		commit = strings.TrimSpace(string(raw))
	}
	if !commitName.MatchString(commit) {
		return "", stillhouse.Invalidf("%s is damaged: delete it and download the model again", r.ref(r.revision))
	}
	dir := r.snapshot(commit)
	if err := complete(dir, !r.NoWeights); err != nil {
		return "", stillhouse.Invalidf("model %s@%s is not whole in the cache (%w; %w): download it once with a network", r.name, r.revision, err, why)
	}
	return dir, nil
}
