package distill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"stillhouse"
)

// migrations bring a store's schema from one version to the next: a store's version is how many of them it has seen.
// Those that were ever released never change.
var migrations = []string{
	// One row of responses is what came for one request; one row of answers is one of its choices. max_tokens is 0
	// where the request had no limit.
	`CREATE TABLE responses (
		id      INTEGER PRIMARY KEY,
		teacher TEXT NOT NULL,
		request BLOB NOT NULL, -- the body that was sent; zstd, as are the next two
		header  BLOB NOT NULL, -- JSON of some of the headers that came
		body    BLOB NOT NULL, -- the body that came
		created INTEGER NOT NULL -- Unix time in milliseconds
	);
	CREATE TABLE answers (
		key           BLOB NOT NULL,
		max_tokens    INTEGER NOT NULL,
		sample        INTEGER NOT NULL,
		response      INTEGER NOT NULL REFERENCES responses (id),
		choice        INTEGER NOT NULL,
		finish_reason TEXT NOT NULL,
		PRIMARY KEY (key, max_tokens)
	) WITHOUT ROWID;
	CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;`,
	batchSchema,
}

// applicationID marks a SQLite file as a response store.
const applicationID = 0x5354494c // "STIL"

var errDamaged = errors.New("the bytes are not those that were written")

// quickCheckBytes is up to which size a store is checked as a whole when it is opened: about a tenth of a second's
// worth. A larger one is checked page by page as it is read.
const quickCheckBytes = 64 << 20

// DefaultStore is the store's file where a config names none.
func DefaultStore() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", stillhouse.Invalidf("there is no cache directory for the response store (%v): set XDG_CACHE_HOME, or name a file in distill.store", err)
	}
	return filepath.Join(dir, "stillhouse", "responses.db"), nil
}

// OpenStore opens the store at path, or the default one where path is empty, and makes it when it is not there. It
// writes to it once, so that a file that is damaged, of another kind, read-only or on a full disk is an error here,
// before an answer is paid for.
func OpenStore(ctx context.Context, path string) (*Store, error) { return openStore(ctx, path, "") }

// openStore is OpenStore with pragmas more, which tests use to make SQLite meet its limits.
func openStore(ctx context.Context, path, pragmas string) (*Store, error) {
	if path == "" {
		var err error
		if path, err = DefaultStore(); err != nil {
			return nil, err
		}
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, stillhouse.Invalidf("distill.store %s: %v", path, err)
		}
		path = filepath.Join(home, rest)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, stillhouse.Invalidf("distill.store %s: %v", path, err)
	}
	size, err := touch(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+
		"?_busy_timeout=30000&_journal_mode=WAL&_synchronous=NORMAL&_txlock=immediate&_stmt_cache_size=64"+pragmas)
	if err != nil {
		return nil, stillhouse.Invalidf("open response store %s: %v", path, err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	s := &Store{path: path, db: db, queue: make(chan *exchange, maxCommit), done: make(chan struct{})}
	if err := s.prepare(ctx, size); err != nil {
		_ = db.Close()
		return nil, err
	}
	go s.write()
	return s, nil
}

// touch makes an empty file that only its owner may read (prompts can be private), and looks at one that is there.
func touch(path string) (size int64, err error) {
	bad := func(err error) error {
		return stillhouse.Invalidf("open response store: %v: name a file in a directory that can be written in distill.store", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, bad(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, bad(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, bad(err)
	}
	if !info.Mode().IsRegular() {
		return 0, stillhouse.Invalidf("open response store %s: it is not a regular file: name another in distill.store", path)
	}
	head := make([]byte, 16)
	if n, err := io.ReadFull(f, head); n > 0 && (err != nil || string(head) != "SQLite format 3\x00") {
		return 0, stillhouse.Invalidf("open response store %s: the file is not a response store, or is damaged: name another in distill.store, or move this one away", path)
	}
	return info.Size(), nil
}

// prepare checks the file, brings its schema up to date and writes to it.
func (s *Store) prepare(ctx context.Context, size int64) error {
	var mode string
	if err := retryBusy(ctx, func() error { return s.db.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode) }); err != nil {
		return s.explain("open", err)
	}
	if mode != "wal" {
		return stillhouse.Invalidf("open response store %s: its file system does not allow SQLite's WAL mode (journal mode is %s): name a file on a local disk in distill.store", s.path, mode)
	}
	if size > 0 && size <= quickCheckBytes {
		var verdict string
		if err := s.db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
			return s.explain("open", err)
		}
		if verdict != "ok" {
			return s.explain("open", fmt.Errorf("%s: %w", verdict, errDamaged))
		}
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.explain("open", err)
	}
	defer func() { _ = tx.Rollback() }()
	var id, version, tables int
	for query, to := range map[string]*int{`PRAGMA application_id`: &id, `PRAGMA user_version`: &version, `SELECT count(*) FROM sqlite_schema`: &tables} {
		if err := tx.QueryRowContext(ctx, query).Scan(to); err != nil {
			return s.explain("open", err)
		}
	}
	switch {
	case id != applicationID && tables > 0:
		return stillhouse.Invalidf("open response store %s: the file is a database of another program: name another in distill.store", s.path)
	case version > len(migrations):
		return stillhouse.Invalidf("open response store %s: its schema is version %d and this program knows up to %d: use a newer stillhouse, or name another file in distill.store", s.path, version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
			return s.explain("set up", err)
		}
	}
	now := time.Now().UTC().Format(time.RFC3339)
	for _, query := range []string{
		fmt.Sprintf(`PRAGMA application_id = %d`, applicationID),
		fmt.Sprintf(`PRAGMA user_version = %d`, version),
		`INSERT INTO notes (name, value) VALUES ('opened', '` + now + `') ON CONFLICT DO UPDATE SET value = excluded.value`,
	} {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return s.explain("write to", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return s.explain("write to", err)
	}
	return nil
}

// retryBusy tries again while other processes set the same new file up: SQLite's own waiting does not cover the change
// to WAL mode.
func retryBusy(ctx context.Context, do func() error) error {
	for tries := 0; ; tries++ {
		err := do()
		var e sqlite3.Error
		if err == nil || tries == 100 || !errors.As(err, &e) || (e.Code != sqlite3.ErrBusy && e.Code != sqlite3.ErrLocked) {
			return err
		}
		if err := (wallClock{}).Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// explain says what an error of SQLite means for the user.
func (s *Store) explain(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	text := fmt.Sprintf("%s response store %s", doing, s.path)
	damaged := stillhouse.Invalidf("%s: the file is damaged (%w): restore it from a copy, or move it away to begin a new one", text, err)
	if errors.Is(err, errDamaged) {
		return damaged
	}
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", text, err)
	}
	switch e.Code {
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return damaged
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm, sqlite3.ErrAuth:
		return stillhouse.Invalidf("%s: it cannot be written (%w): name a file in distill.store that can", text, err)
	case sqlite3.ErrFull:
		return stillhouse.Transientf("%s: the disk is full (%w): free some space and run again; every answer in the store is kept", text, err)
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return stillhouse.Transientf("%s: another process holds it for too long (%w): run again", text, err)
	default:
		return stillhouse.Transientf("%s: %w: check the disk and run again; every answer in the store is kept", text, err)
	}
}
