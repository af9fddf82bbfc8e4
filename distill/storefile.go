package distill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"

	"stillhouse"
)

var errDamaged = errors.New("the bytes are not those that were written")

// quickCheckBytes is up to which size a store is checked as a whole when it is opened: about a tenth of a second's
// worth. A larger one is checked page by page as it is read.
var quickCheckBytes int64 = 64 << 20 // changed by tests

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

// openStore is OpenStore with parameters more for all connections and statements for that of lookups and puts, which
// tests use to make SQLite meet its limits.
func openStore(ctx context.Context, path, parameters string, hot ...string) (*Store, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	size, err := touch(path)
	if err != nil {
		return nil, err
	}
	if free := freeBytes(filepath.Dir(path)); free < minFree {
		return nil, stillhouse.Invalidf("open response store %s: its disk has %d bytes free, and at least %d are needed: free some space, or name a file on another disk in distill.store", path, free, minFree)
	}
	dsn := dsnOf(path) + "?_busy_timeout=30000&_txlock=immediate" + parameters
	unsynced := dsn + "&_synchronous=OFF"
	dsn += "&_journal_mode=WAL&_synchronous=NORMAL"
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, stillhouse.Invalidf("open response store %s: %v", path, err)
	}
	s := &Store{path: path, db: db, queue: make(chan job, maxBatch), done: make(chan struct{})}
	if size > 0 {
		err = s.prepare(ctx, db, size)
	} else {
		var first *sql.DB
		if first, err = s.begin(ctx, unsynced); first != nil {
			defer first.Close() // after another connection is open: the last one to close takes the log apart
		}
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	q, err := s.connect(dsn, append([]string{checkpoints}, hot...))
	if err != nil {
		_ = db.Close()
		return nil, s.explain("open", err)
	}
	go s.serve(q)
	return s, nil
}

// minFree is what a disk must have free for a run to begin: what SQLite's log grows to before it is moved into the
// database, twice. A disk that fills up later ends the run with what is stored kept, but what is on its way is lost.
const minFree = 32 << 20

// freeBytes is how much can be written to a directory's disk; changed by tests.
var freeBytes = func(dir string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return math.MaxInt64 // a file system that does not say
	}
	return int64(min(s.Bavail*uint64(s.Bsize), math.MaxInt64))
}

// checkpoints has the log moved into the database at every 16 MiB, four times as much as SQLite's own measure: pages
// that many answers share are then moved once, and there are fewer syncs.
const checkpoints = `PRAGMA wal_autocheckpoint = 4096`

// begin makes the tables of a new file on a connection of its own that syncs nothing, and that is to be closed: a power cut
// can take nothing of a store that holds nothing, and its six syncs took longer than all else that a run does before its
// first request. The connection never moves the log into the database, which needs syncs where another process has filled
// it meanwhile.
func (s *Store) begin(ctx context.Context, dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, stillhouse.Invalidf("open response store %s: %v", s.path, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `PRAGMA wal_autocheckpoint = 0`); err != nil {
		return db, s.explain("open", err)
	}
	return db, s.prepare(ctx, db, 0)
}

// connect opens the connection of serve.
func (s *Store) connect(dsn string, first []string) (*statements, error) {
	conn, err := new(sqlite3.SQLiteDriver).Open(dsn)
	if err != nil {
		return nil, err
	}
	s.hot = conn.(*sqlite3.SQLiteConn)
	for _, query := range first {
		if _, err := s.hot.ExecContext(context.Background(), query, nil); err != nil {
			_ = s.hot.Close()
			return nil, err
		}
	}
	q, err := prepare(s.hot)
	if err != nil {
		_ = s.hot.Close()
		return nil, err
	}
	return q, nil
}

// resolve is the absolute path of a store, the default one where path is empty.
func resolve(path string) (string, error) {
	if path == "" {
		return DefaultStore()
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", stillhouse.Invalidf("distill.store %s: %v", path, err)
		}
		path = filepath.Join(home, rest)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return "", stillhouse.Invalidf("distill.store %s: %v", path, err)
	}
	return full, nil
}

func dsnOf(path string) string { return "file:" + (&url.URL{Path: path}).EscapedPath() }

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
	if err := checkHead(path, f); err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// prepare checks the file, brings its schema up to date and writes to it.
func (s *Store) prepare(ctx context.Context, db *sql.DB, size int64) error {
	var mode string
	if err := retryBusy(ctx, func() error { return db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode) }); err != nil {
		return s.explain("open", err)
	}
	if mode != "wal" {
		return stillhouse.Invalidf("open response store %s: its file system does not allow SQLite's WAL mode (journal mode is %s): name a file on a local disk in distill.store", s.path, mode)
	}
	if size > 0 && size <= quickCheckBytes {
		var verdict string
		if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
			return s.explain("open", err)
		}
		if verdict != "ok" {
			return s.explain("open", fmt.Errorf("%s: %w", verdict, errDamaged))
		}
	}
	tx, err := db.BeginTx(ctx, nil)
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
		return tooNew(s.path, version)
	}
	for ; version < len(migrations); version++ {
		m := migrations[version]
		if _, err := tx.ExecContext(ctx, m.statements); err != nil {
			return s.explain("set up", err)
		}
		if m.fill == nil {
			continue
		}
		if err := m.fill(ctx, tx); err != nil {
			return s.explain(fmt.Sprintf("bring to version %d the", version+1), err)
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
	damaged := stillhouse.Invalidf("%s: the file is damaged (%w): restore it from a copy, or move it away to begin a new one; `stillhouse store verify` says what of it is whole, and `stillhouse store export` saves that", text, err)
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
