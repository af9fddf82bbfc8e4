package distill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stillhouse"
)

// A StoreReader looks into a response store as it is at one moment. The store may be in use, on a disk that cannot be
// written, or damaged. One of an earlier version is brought up to date first.
type StoreReader struct {
	path    string
	db      *sql.DB
	tx      *sql.Tx // all is read in it: nothing changes meanwhile
	version int
}

// ReadStore opens the store at path, or the default one where path is empty. It must be there.
func ReadStore(ctx context.Context, path string) (*StoreReader, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if err := looksLikeStore(path); err != nil {
		return nil, err
	}
	r, err := readStore(ctx, path)
	if err != nil || r.version == len(migrations) {
		return r, err
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	s, err := OpenStore(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return readStore(ctx, path)
}

// looksLikeStore says what is wrong with a path before SQLite does, in words of its own.
func looksLikeStore(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return stillhouse.Invalidf("there is no response store at %s: name its file with --store", path)
	}
	if err != nil {
		return stillhouse.Invalidf("open response store: %v", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return stillhouse.Invalidf("open response store %s: it is not a regular file: name another with --store", path)
	}
	return checkHead(path, f)
}

// checkHead looks whether a file begins as a SQLite database does; an empty one passes.
func checkHead(path string, f *os.File) error {
	head := make([]byte, 16)
	if n, err := io.ReadFull(f, head); n > 0 && (err != nil || string(head) != "SQLite format 3\x00") {
		return stillhouse.Invalidf("open response store %s: the file is not a response store, or is damaged: name another in distill.store, or move this one away", path)
	}
	return nil
}

func readStore(ctx context.Context, path string) (*StoreReader, error) {
	r := &StoreReader{path: path}
	dsn := dsnOf(path) + "?mode=ro&_busy_timeout=30000"
	if log, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) || err == nil && log.Size() == 0 {
		if !writable(filepath.Dir(path)) {
			dsn += "&immutable=1" // SQLite's files beside a database in use cannot be made, and are not needed
		}
	}
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, r.explain(err)
	}
	r.db = db
	if r.tx, err = db.BeginTx(ctx, nil); err != nil {
		return nil, errors.Join(r.explain(err), db.Close())
	}
	var id int
	for query, to := range map[string]*int{`PRAGMA application_id`: &id, `PRAGMA user_version`: &r.version} {
		if err := r.tx.QueryRowContext(ctx, query).Scan(to); err != nil {
			return nil, errors.Join(r.explain(err), r.Close())
		}
	}
	switch {
	case id != applicationID:
		return nil, errors.Join(stillhouse.Invalidf("open response store %s: the file is a database of another program: name another with --store", path), r.Close())
	case r.version > len(migrations):
		return nil, errors.Join(tooNew(path, r.version), r.Close())
	}
	return r, nil
}

func tooNew(path string, version int) error {
	return stillhouse.Invalidf("open response store %s: its schema is version %d and this program knows up to %d: use a newer stillhouse, or name another file in distill.store", path, version, len(migrations))
}

// writable reports whether files can be made in a directory; changed by tests.
var writable = func(dir string) bool {
	f, err := os.CreateTemp(dir, ".stillhouse-*")
	if err != nil {
		return false
	}
	_ = f.Close()
	return os.Remove(f.Name()) == nil
}

// Path is the store's file.
func (r *StoreReader) Path() string { return r.path }

// Close closes the file, which is as it was.
func (r *StoreReader) Close() error {
	if r.tx != nil {
		_ = r.tx.Rollback()
	}
	return r.db.Close()
}

func (r *StoreReader) explain(err error) error {
	return (&Store{path: r.path}).explain("read from", err)
}

// A Selection is a part of a store: what came from a teacher, for a model, in a time. Fields that are empty select all.
type Selection struct {
	Teacher string    // what stands for the endpoint in the keys
	Model   string    // as the request calls it
	Since   time.Time // the first moment
	Before  time.Time // the first moment after
}

// where is the selection as a condition on the table responses under a name.
func (s Selection) where(table string) (condition string, args []any) {
	conditions := []string{"1"}
	add := func(condition string, arg any) {
		conditions = append(conditions, table+"."+condition)
		args = append(args, arg)
	}
	if s.Teacher != "" {
		add("teacher = ?", s.Teacher)
	}
	if s.Model != "" {
		add("model = ?", s.Model)
	}
	if !s.Since.IsZero() {
		add("created >= ?", s.Since.UnixMilli())
	}
	if !s.Before.IsZero() {
		add("created < ?", s.Before.UnixMilli())
	}
	return strings.Join(conditions, " AND "), args
}

func (s Selection) includes(r *responseRow) bool {
	return (s.Teacher == "" || s.Teacher == r.teacher) && (s.Model == "" || s.Model == r.model) &&
		(s.Since.IsZero() || r.created >= s.Since.UnixMilli()) && (s.Before.IsZero() || r.created < s.Before.UnixMilli())
}

// A Group is what responses that have something in common add up to.
type Group struct {
	Teacher          string    `json:"teacher,omitempty"`
	Model            string    `json:"model,omitempty"`
	Day              string    `json:"day,omitempty"` // in UTC
	Responses        int64     `json:"responses"`
	Answers          int64     `json:"answers"`
	Truncated        int64     `json:"truncated"` // answers that ran into max_tokens
	PromptTokens     int64     `json:"prompt_tokens"`
	CompletionTokens int64     `json:"completion_tokens"`
	First            time.Time `json:"first"`
	Last             time.Time `json:"last"`
}

// Groups are the ways to put responses together.
var Groups = []string{"teacher", "model", "day"}

// List adds up what is selected by some of [Groups].
func (r *StoreReader) List(ctx context.Context, s Selection, by []string) ([]Group, error) {
	expressions := map[string]string{"teacher": "r.teacher", "model": "r.model", "day": "date(r.created / 1000, 'unixepoch')"}
	columns := make([]string, len(Groups))
	for i, g := range Groups {
		columns[i] = "''"
		if slices.Contains(by, g) {
			columns[i] = expressions[g]
		}
	}
	for _, g := range by {
		if expressions[g] == "" {
			return nil, stillhouse.Invalidf("--by %s: it must be some of %s", g, strings.Join(Groups, ", "))
		}
	}
	where, args := s.where("r")
	rows, err := r.tx.QueryContext(ctx, `SELECT `+strings.Join(columns, ", ")+`, count(*), coalesce(sum(a.n), 0), coalesce(sum(a.cut), 0),
		sum(r.prompt_tokens), sum(r.completion_tokens), min(r.created), max(r.created) FROM responses r
		LEFT JOIN (SELECT response, count(*) AS n, sum(finish_reason = 'length') AS cut FROM answers GROUP BY response) a ON a.response = r.id
		WHERE `+where+` GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, args...)
	if err != nil {
		return nil, r.explain(err)
	}
	defer rows.Close()
	var groups []Group
	for rows.Next() {
		var g Group
		var first, last int64
		if err := rows.Scan(&g.Teacher, &g.Model, &g.Day, &g.Responses, &g.Answers, &g.Truncated, &g.PromptTokens, &g.CompletionTokens, &first, &last); err != nil {
			return nil, r.explain(err)
		}
		g.First, g.Last = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
		groups = append(groups, g)
	}
	if err := rows.Err(); err != nil {
		return nil, r.explain(err)
	}
	return groups, nil
}

// Facts are those that were learned about a teacher, or all where teacher is empty, without those whose bytes have changed.
func (r *StoreReader) Facts(ctx context.Context, teacher string) (facts []Fact, damaged int, err error) {
	rows, err := r.tx.QueryContext(ctx, `SELECT teacher, name, value, learned, sum FROM facts ORDER BY teacher, name`)
	if err != nil {
		return nil, 0, r.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var values [5]any
		if err := rows.Scan(&values[0], &values[1], &values[2], &values[3], &values[4]); err != nil {
			return nil, 0, r.explain(err)
		}
		f, sum, err := factOf(values)
		if err != nil || f.checksum() != sum {
			damaged++
		} else if teacher == "" || teacher == f.Teacher {
			facts = append(facts, f)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, r.explain(err)
	}
	return facts, damaged, nil
}

func factOf(values [5]any) (f Fact, sum int64, err error) {
	ok := true
	for i, to := range []*string{&f.Teacher, &f.Name, &f.Value} {
		var fits bool
		*to, fits = values[i].(string)
		ok = ok && fits
	}
	learned, fits := values[3].(int64)
	sum, fitsToo := values[4].(int64)
	if !ok || !fits || !fitsToo {
		return f, 0, fmt.Errorf("a fact cannot be read: %w", errDamaged)
	}
	f.Learned = time.UnixMilli(learned)
	return f, sum, nil
}
