package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
)

// A Dataset is a dataset of the Hub at one commit. Its files are downloaded when they are asked for.
type Dataset struct {
	r      *repository
	commit string
	files  []string
}

// ConvertedRevision is the branch on which the Hub keeps every dataset as Parquet, in CONFIG/SPLIT/0000.parquet and so on.
const ConvertedRevision = "refs/convert/parquet"

// most is from how many files on the Hub's list of a repository is cut.
const most = 50_000

// OpenDataset looks up a dataset's commit and files. The name is owner/name, the revision a branch, a tag or a commit,
// main where it is empty. Where the Hub cannot be reached, or is not to be, what was listed before is taken.
func OpenDataset(ctx context.Context, name, revision string, o Options) (*Dataset, error) {
	if revision == "" {
		revision = "main"
	}
	repo, revision, err := parse(name + "@" + revision)
	if err != nil {
		return nil, err
	}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	d := &Dataset{r: newRepository("dataset", repo, revision, o)}
	if o.Offline {
		return d, d.offline(errors.New("HF_HUB_OFFLINE is set"))
	}
	d.commit, d.files, err = d.r.list(ctx)
	if err != nil && ctx.Err() == nil && stillhouse.KindOf(err) == stillhouse.Transient {
		if d.offline(err) == nil {
			return d, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", name, err)
	}
	if len(d.files) >= most {
		return nil, stillhouse.Invalidf("dataset %s has %d files or more, of which the Hub lists only the first: name a config and a split, whose conversion to Parquet has fewer", name, most)
	}
	slices.Sort(d.files)
	return d, d.remember()
}

// listPath is where the list of a commit's files is kept: the cache itself shows only those that were downloaded.
func (d *Dataset) listPath(commit string) string {
	return filepath.Join(d.r.dir, "stillhouse-files", commit+".json")
}

// remember keeps what was listed.
func (d *Dataset) remember() error {
	raw, err := json.Marshal(d.files)
	if err != nil {
		return err
	}
	at := d.listPath(d.commit)
	err = os.MkdirAll(filepath.Dir(at), 0o755)
	if err == nil {
		err = replace(at, func(temporary string) error { return os.WriteFile(temporary, raw, 0o644) })
	}
	if err == nil {
		err = d.r.remember(d.r.revision, d.commit)
	}
	if err != nil {
		return fmt.Errorf("dataset %s: write the cache: %w", d.r.name, full(err))
	}
	return nil
}

// offline takes what was listed before.
func (d *Dataset) offline(why error) error {
	commit := d.r.revision
	if !commitName.MatchString(commit) {
		raw, err := os.ReadFile(d.r.ref(commit))
		if err != nil {
			return stillhouse.Invalidf("dataset %s@%s is not in the cache %s (%w): download it once with a network, or name local files", d.r.name, commit, d.r.dir, why)
		}
		commit = strings.TrimSpace(string(raw))
	}
	raw, err := os.ReadFile(d.listPath(commit))
	if err == nil {
		err = json.Unmarshal(raw, &d.files)
	}
	if err != nil || !commitName.MatchString(commit) {
		return stillhouse.Invalidf("dataset %s@%s is not whole in the cache %s (%w): open it once with a network", d.r.name, d.r.revision, d.r.dir, why)
	}
	d.commit = commit
	return nil
}

// Commit is the commit that the dataset is at.
func (d *Dataset) Commit() string { return d.commit }

// Files are the names of all files, sorted.
func (d *Dataset) Files() []string { return d.files }

// File gives the path of a file in the cache, downloaded where it is not there yet, its size and hash compared with what
// the Hub says of it.
func (d *Dataset) File(ctx context.Context, name string) (string, error) {
	if !slices.Contains(d.files, name) {
		return "", stillhouse.Invalidf("dataset %s has no file %s at %s", d.r.name, name, d.r.revision)
	}
	if !filepath.IsLocal(name) || path.Clean(name) != name || strings.Contains(name, `\`) {
		return "", stillhouse.Invalidf("dataset %s has a file named %q, which is not a name to write to", d.r.name, name)
	}
	at := filepath.Join(d.r.snapshot(d.commit), filepath.FromSlash(name))
	if d.r.Offline {
		if _, err := os.Stat(at); err != nil {
			return "", stillhouse.Invalidf("dataset %s: %s is not in the cache %s (HF_HUB_OFFLINE is set): download it once with a network", d.r.name, name, d.r.dir)
		}
		return at, nil
	}
	if err := d.r.file(ctx, d.commit, name); err != nil {
		return "", fmt.Errorf("dataset %s: %w", d.r.name, err)
	}
	return at, nil
}
