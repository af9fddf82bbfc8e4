package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A cache is the folder of one repository in the layout of huggingface_hub:
//
//	blobs/ETAG              the content of files
//	refs/REVISION           the commit of a branch or tag
//	snapshots/COMMIT/NAME   a relative link to the blob
type cache struct{ dir string }

func (c cache) blob(etag string) string { return filepath.Join(c.dir, "blobs", etag) }
func (c cache) ref(revision string) string {
	return filepath.Join(c.dir, "refs", filepath.FromSlash(revision))
}
func (c cache) snapshot(commit string) string { return filepath.Join(c.dir, "snapshots", commit) }

// point makes snapshots/COMMIT/NAME a link to a blob. The link appears at once or not at all.
func (c cache) point(commit, name, etag string) error {
	path := filepath.Join(c.snapshot(commit), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	to, err := filepath.Rel(filepath.Dir(path), c.blob(etag))
	if err != nil {
		return err
	}
	return replace(path, func(temporary string) error { return os.Symlink(to, temporary) })
}

// remember writes which commit a branch or tag stands for.
func (c cache) remember(revision, commit string) error {
	if revision == commit {
		return nil
	}
	path := c.ref(revision)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replace(path, func(temporary string) error { return os.WriteFile(temporary, []byte(commit), 0o644) })
}

// replace makes a file under a temporary name, then renames it.
func replace(path string, make func(temporary string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	temporary := f.Name()
	f.Close()
	os.Remove(temporary) // a link can't be made over a file
	if err := errors.Join(make(temporary), os.Rename(temporary, path)); err != nil {
		os.Remove(temporary)
		return err
	}
	return nil
}

// complete is an error that says what a model or adapter directory lacks: the configuration, or weights that its index
// names.
func complete(dir string, weights bool) error {
	if _, err := os.Stat(filepath.Join(dir, adapterConfig)); err == nil {
		if _, err := os.Stat(filepath.Join(dir, adapterWeights)); weights && err != nil {
			return fmt.Errorf("%s is missing", adapterWeights)
		}
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return errors.New("config.json is missing")
	}
	if !weights {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		if found, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); len(found) == 0 {
			return errors.New("the weights are missing")
		}
		return nil
	} else if err != nil {
		return err
	}
	shards, err := shardsOf(raw)
	if err != nil {
		return err
	}
	for _, name := range shards {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

const indexName = "model.safetensors.index.json"

// shardsOf are the weight files that an index names, each once, in the order of their names.
func shardsOf(index []byte) ([]string, error) {
	var in struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &in); err != nil {
		return nil, fmt.Errorf("%s is not valid JSON: %w", indexName, err)
	}
	seen := map[string]bool{}
	for tensor, name := range in.WeightMap {
		if !weights.MatchString(name) {
			return nil, fmt.Errorf("%s names the file %q for %s: shards lie beside it and end in .safetensors", indexName, name, tensor)
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("%s names no file", indexName)
	}
	return sortedKeys(seen), nil
}
