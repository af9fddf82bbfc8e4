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
// the model and of its adapter where it has one.
func fingerprint(dirs ...string) (string, error) {
	var files []string
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return "", err
		}
		slices.Sort(found)
		files = append(files, found...)
	}
	h := sha256.New()
	for _, path := range files {
		switch filepath.Ext(path) {
		case ".safetensors", ".json", ".jinja":
		default:
			continue
		}
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
