package pipelines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/distill"
	"stillhouse/internal/serve"
)

// A teacher is a model that this program serves itself, on a loopback port, and asks over HTTP as it would any other:
// what `endpoint: embedded` means.
type teacher struct {
	model  *loaded
	server *serve.Server
}

// serveTeacher serves the model that o names and points o at it. The response store knows the teacher by what it is,
// not by the port it has this time.
func serveTeacher(ctx context.Context, o *distill.Options) (*teacher, error) {
	m, err := loadWeights(ctx, embedded(o.Model)) // the server makes the generator
	if err != nil {
		return nil, fmt.Errorf("distill.model: %w", err)
	}
	identity, err := fingerprint(m.dir, m.adapter)
	if err != nil {
		_ = m.Close()
		return nil, err
	}
	t := &teacher{model: m, server: serve.New(serve.Options{Model: m.model, Tokenizer: m.tokenizer, Name: o.Model})}
	url, _, err := t.server.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Close()
		return nil, err
	}
	o.Endpoint, o.Identity = url, identity
	return t, nil
}

func (t *teacher) Close() {
	_ = t.server.Close()
	_ = t.model.Close()
}

// fingerprint is the SHA-256 over what makes a model answer as it does: weights, configuration, tokenizer, template, of
// the model, a directory or a GGUF file, and of its adapter where it has one.
func fingerprint(models ...string) (string, error) {
	var files []string
	for _, model := range models {
		if model == "" {
			continue
		}
		found := []string{model}
		if info, err := os.Stat(model); err != nil {
			return "", stillhouse.Invalidf("read model: %v", err)
		} else if info.IsDir() {
			entries, err := os.ReadDir(model)
			if err != nil {
				return "", stillhouse.Invalidf("read model: %v", err)
			}
			found = nil
			for _, e := range entries {
				found = append(found, filepath.Join(model, e.Name()))
			}
		}
		n := len(files)
		for _, path := range found {
			if slices.Contains([]string{".safetensors", ".json", ".jinja", ".gguf"}, strings.ToLower(filepath.Ext(path))) {
				files = append(files, path)
			}
		}
		if len(files) == n {
			return "", stillhouse.Invalidf("read model: there is none in %s", model)
		}
	}
	h := sha256.New()
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return "", stillhouse.Invalidf("read model: %v", err)
		}
		fmt.Fprintf(h, "%s\n", filepath.Base(path))
		_, err = io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return "", stillhouse.Invalidf("read model %s: %v", path, err)
		}
	}
	return distill.Embedded + ":" + hex.EncodeToString(h.Sum(nil)), nil
}
