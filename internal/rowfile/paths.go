package rowfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/options"
)

// Paths name files: each a file, a glob (with ** for folders in between), or a dataset of the Hub.
type Paths []string

// UnmarshalYAML reads one path or a list of them.
func (p *Paths) UnmarshalYAML(n *yaml.Node) error {
	*p = nil
	if n.Kind == yaml.SequenceNode && len(n.Content) > 0 {
		return n.Decode((*[]string)(p))
	}
	if n.Kind == yaml.MappingNode {
		return options.Wrongf("", "wants a path or a list of them, not keys and values")
	}
	if n.Value != "" {
		*p = Paths{n.Value}
	}
	return nil
}

// MarshalYAML writes one path as it stands.
func (p Paths) MarshalYAML() (any, error) {
	if len(p) == 1 {
		return p[0], nil
	}
	return []string(p), nil
}

// String is what errors call the files.
func (p Paths) String() string { return strings.Join(p, ", ") }

// Validate says which of the paths cannot be, by its place where there are several.
func (p Paths) Validate() error {
	for i, name := range p {
		key := ""
		if len(p) > 1 {
			key = fmt.Sprintf("[%d]", i)
		}
		if name == "" {
			return options.Wrongf(key, "is empty: name a file")
		}
		if _, isHub, err := parseReference(name); isHub && err != nil {
			return options.Wrongf(key, "is %q: %v", name, err)
		}
		if !doublestar.ValidatePattern(name) {
			return options.Wrongf(key, "is %q, which is no glob: a bracket or a brace is not closed", name)
		}
	}
	return nil
}

// A Named is one file that paths name.
type Named struct {
	Name   string                                         // what errors call it
	Source string                                         // what its rows are told by: its name without its folder, or its place on the Hub
	Fetch  func(context.Context) (path string, err error) // downloads it where it is not on this machine
}

// Files lists what the paths name, in their order, those of a glob in the order of their names, each once. Nothing is
// downloaded yet; progress is told of downloads and may be nil.
func (p Paths) Files(ctx context.Context, progress func(file string, done, total int64)) (all []Named, err error) {
	seen := map[string]bool{}
	for _, name := range p {
		var found []Named
		if ref, isHub, parseErr := parseReference(name); isHub {
			if err = parseErr; err == nil {
				found, err = ref.files(ctx, hub.Options{Progress: progress})
			}
		} else {
			found, err = local(name)
		}
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !seen[f.Name] {
				seen[f.Name] = true
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// local lists files of this machine. A file whose name looks like a glob is that file.
func local(name string) ([]Named, error) {
	names := []string{name}
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) && isGlob(name) {
		if names, err = doublestar.FilepathGlob(name, doublestar.WithFilesOnly()); err != nil {
			return nil, stillhouse.Invalidf("%s: %w", name, err)
		}
		if len(names) == 0 {
			return nil, stillhouse.Invalidf("no file is matched by %s: check the path", name)
		}
		slices.Sort(names)
	}
	var out []Named
	for _, n := range names {
		out = append(out, Named{Name: n, Source: filepath.Base(n), Fetch: func(context.Context) (string, error) { return n, nil }})
	}
	return out, nil
}

func isGlob(name string) bool { return strings.ContainsAny(name, "*?[{") }

const scheme = "hf://"

// A reference names files of a dataset of the Hub, in the way of huggingface_hub's file system:
//
//	hf://datasets/OWNER/NAME[@REVISION][/FILE-OR-GLOB or /CONFIG[/SPLIT]]
//
// A config and a split are those of the Hub's conversion to Parquet, which it makes of every dataset. ~parquet is short for
// the revision of that.
type reference struct {
	name     string // OWNER/NAME
	revision string // "" where none is named
	rest     string // the file, the glob, or the config and the split
}

// dataEndings are those of files that can be read.
var dataEndings = []string{".parquet", ".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz"}

func isData(name string) bool {
	return slices.ContainsFunc(dataEndings, func(end string) bool { return strings.HasSuffix(name, end) })
}

// byName says whether the reference names files, rather than a config.
func (r reference) byName() bool {
	return isGlob(r.rest) || isData(r.rest)
}

// parseReference reads a reference; isHub says whether it is meant as one.
func parseReference(s string) (r reference, isHub bool, err error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return r, false, nil
	}
	const want = "a dataset is named as hf://datasets/OWNER/NAME/CONFIG/SPLIT, or hf://datasets/OWNER/NAME@REVISION/FILE-OR-GLOB"
	rest, ok = strings.CutPrefix(rest, "datasets/")
	owner, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || owner == "" {
		return r, true, errors.New(want)
	}
	end := strings.IndexAny(rest, "@/")
	if end < 0 {
		end = len(rest)
	}
	r.name, rest = owner+"/"+rest[:end], rest[end:]
	if end == 0 {
		return r, true, errors.New(want)
	}
	if revision, ok := strings.CutPrefix(rest, "@"); ok {
		n := 1
		if strings.HasPrefix(revision, "refs/") { // refs/pr/1, refs/convert/parquet
			n = 3
		}
		parts := strings.SplitN(revision, "/", n+1)
		r.revision, rest = strings.Join(parts[:min(n, len(parts))], "/"), ""
		if len(parts) > n {
			rest = "/" + parts[n]
		}
		if r.revision, err = url.PathUnescape(r.revision); err != nil || r.revision == "" {
			return r, true, errors.New("there is no revision after the @: " + want)
		}
		if r.revision == "~parquet" {
			r.revision = hub.ConvertedRevision
		}
	}
	r.rest = strings.Trim(rest, "/")
	if !r.byName() && strings.Count(r.rest, "/") > 1 {
		return r, true, fmt.Errorf("%q is neither a config and a split nor a file that can be read (%s): %s", r.rest, strings.Join(dataEndings, ", "), want)
	}
	return r, true, nil
}

// files lists the files that a reference names. Nothing is downloaded yet.
func (r reference) files(ctx context.Context, o hub.Options) ([]Named, error) {
	revision := r.revision
	if revision == "" && !r.byName() {
		revision = hub.ConvertedRevision
	}
	d, err := hub.OpenDataset(ctx, r.name, revision, o)
	if err != nil {
		if r.revision == "" && !r.byName() && stillhouse.KindOf(err) == stillhouse.Invalid {
			err = fmt.Errorf("%w; a dataset that the Hub has not made Parquet of has no %s: name its files, as %sdatasets/%s/data/*.parquet", err, hub.ConvertedRevision, scheme, r.name)
		}
		return nil, err
	}
	var names []string
	if r.byName() {
		names, err = r.match(d.Files())
	} else {
		names, err = r.converted(d.Files())
	}
	if err != nil {
		return nil, stillhouse.Invalidf("dataset %s at %.12s: %w", r.name, d.Commit(), err)
	}
	var out []Named
	for _, name := range names {
		at := fmt.Sprintf("%s@%.12s/%s", r.name, d.Commit(), name)
		out = append(out, Named{Name: scheme + "datasets/" + at, Source: at, Fetch: func(ctx context.Context) (string, error) { return d.File(ctx, name) }})
	}
	return out, nil
}

// match finds the file of that name, or those that the glob matches.
func (r reference) match(all []string) (names []string, err error) {
	if slices.Contains(all, r.rest) {
		return []string{r.rest}, nil
	}
	for _, name := range all {
		if ok, err := doublestar.Match(r.rest, name); err == nil && ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		var readable []string
		for _, name := range all {
			if isData(name) {
				readable = append(readable, name)
			}
		}
		return nil, fmt.Errorf("no file is matched by %s: the files that can be read are %s", r.rest, Some(readable))
	}
	return names, nil
}

// converted finds the Parquet files of a config and a split, which lie in CONFIG/SPLIT. Where one is left out there must
// be no choice.
func (r reference) converted(all []string) (names []string, err error) {
	splits := map[string][]string{} // files by CONFIG/SPLIT
	var keys []string
	for _, name := range all {
		key := path.Dir(name)
		if path.Ext(name) != ".parquet" || strings.Count(key, "/") != 1 {
			continue
		}
		if splits[key] == nil {
			keys = append(keys, key)
		}
		splits[key] = append(splits[key], name)
	}
	var fit []string
	for _, key := range keys {
		if key == r.rest || r.rest == "" || strings.HasPrefix(key, r.rest+"/") {
			fit = append(fit, key)
		}
	}
	config, split, _ := strings.Cut(r.rest, "/")
	if partial := config + "/partial-" + split; len(fit) == 0 && slices.Contains(keys, partial) {
		return nil, fmt.Errorf("the Hub has made Parquet of the beginning of %s only: name %s to take that, or all files of the dataset by a glob", r.rest, partial)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("there are no Parquet files in CONFIG/SPLIT: a revision of the dataset itself has none, so name its files by a glob")
	case len(fit) == 0:
		return nil, fmt.Errorf("there is no %s: what can stand here is %s", r.rest, Some(keys))
	case len(fit) > 1:
		return nil, fmt.Errorf("there is more than one split: name one of %s", Some(fit))
	}
	return splits[fit[0]], nil
}

// Some lists names, of many the first.
func Some(names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
