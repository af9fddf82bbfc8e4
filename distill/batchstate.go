package distill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// batchSchema keeps which requests are on their way by the Batch API, in the response store: a process that goes on after
// another was killed finds every batch that was paid for, and one that runs beside it waits for the same batches.
const batchSchema = `
	CREATE TABLE batches (
		id       INTEGER PRIMARY KEY,
		token    TEXT NOT NULL UNIQUE, -- names the batch at the endpoint, in its metadata and as its file's name
		endpoint TEXT NOT NULL,
		state    TEXT NOT NULL,            -- planning, planned, uploaded, creating, created, closed
		requests INTEGER NOT NULL DEFAULT 0,
		file     TEXT NOT NULL DEFAULT '', -- the endpoint's ids of the file of requests and of the batch
		batch    TEXT NOT NULL DEFAULT '',
		outcome  TEXT NOT NULL DEFAULT '', -- how it ended, once it is closed
		created  INTEGER NOT NULL          -- Unix time in milliseconds
	);
	-- The requests of batches that are not closed.
	CREATE TABLE batch_requests (
		batch      INTEGER NOT NULL REFERENCES batches (id),
		line       INTEGER NOT NULL,
		first      INTEGER NOT NULL, -- the number of the first sample
		keys       BLOB NOT NULL,    -- of the samples, one after the other
		max_tokens INTEGER NOT NULL,
		body       BLOB NOT NULL,    -- zstd
		PRIMARY KEY (batch, line)
	) WITHOUT ROWID;
	CREATE TABLE batch_keys (
		key        BLOB NOT NULL,
		max_tokens INTEGER NOT NULL,
		batch      INTEGER NOT NULL REFERENCES batches (id),
		PRIMARY KEY (key, max_tokens)
	) WITHOUT ROWID;
	CREATE INDEX batch_keys_by_batch ON batch_keys (batch);`

// The states of a batch, in their order.
const (
	batchPlanning = "planning" // its requests are being written down; what a killed process left so is thrown away
	batchPlanned  = "planned"
	batchUploaded = "uploaded"
	batchCreating = "creating" // the endpoint was, or is being, asked to make it
	batchCreated  = "created"
	batchClosed   = "closed" // all its answers are in the store
)

// A batchRow is a row of batches.
type batchRow struct {
	id                     int64
	token, endpoint, state string
	requests               int
	file, batch            string
	created                int64
}

// A batchRequest is one request of a batch.
type batchRequest struct {
	line      int
	first     int
	keys      []Key
	maxTokens int
	body      []byte
}

func (s *Store) inTx(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err == nil {
		defer func() { _ = tx.Rollback() }()
		if err = do(tx); err == nil {
			err = tx.Commit()
		}
	}
	if err != nil {
		return s.explain("write to", err)
	}
	return nil
}

// pending says which of the keys are in batches that are not closed.
func (s *Store) pending(ctx context.Context, keys []Key, maxTokens int) (map[Key]int64, error) {
	found := map[Key]int64{}
	const most = 1000 // variables of one statement
	for len(keys) > 0 {
		part := keys[:min(most, len(keys))]
		keys = keys[len(part):]
		args := []any{maxTokens}
		for i := range part {
			args = append(args, part[i][:])
		}
		rows, err := s.db.QueryContext(ctx, `SELECT k.key, k.batch FROM batch_keys k JOIN batches b ON b.id = k.batch
			WHERE b.state != 'planning' AND k.max_tokens = ? AND k.key IN (?`+strings.Repeat(",?", len(part)-1)+`)`, args...)
		if err != nil {
			return nil, s.explain("read from", err)
		}
		for rows.Next() {
			var key []byte
			var batch int64
			if err := rows.Scan(&key, &batch); err != nil {
				_ = rows.Close()
				return nil, s.explain("read from", err)
			}
			found[Key(key)] = batch
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, s.explain("read from", err)
		}
	}
	return found, nil
}

// discardPlanning throws away what a killed process had not planned to the end. The caller holds the lock of batches.
func (s *Store) discardPlanning(ctx context.Context) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{
			`DELETE FROM batch_keys WHERE batch IN (SELECT id FROM batches WHERE state = 'planning')`,
			`DELETE FROM batch_requests WHERE batch IN (SELECT id FROM batches WHERE state = 'planning')`,
			`DELETE FROM batches WHERE state = 'planning'`,
		} {
			if _, err := tx.ExecContext(ctx, query); err != nil {
				return err
			}
		}
		return nil
	})
}

// beginBatch makes a batch in planning.
func (s *Store) beginBatch(ctx context.Context, token, endpoint string, now int64) (id int64, err error) {
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `INSERT INTO batches (token, endpoint, state, created) VALUES (?, ?, 'planning', ?)`, token, endpoint, now)
		if err != nil {
			return err
		}
		id, err = r.LastInsertId()
		return err
	})
	return id, err
}

// addRequests adds requests to a batch in planning.
func (s *Store) addRequests(ctx context.Context, id int64, requests []batchRequest) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		for _, r := range requests {
			keys := make([]byte, 0, len(r.keys)*len(Key{}))
			for _, k := range r.keys {
				keys = append(keys, k[:]...)
				if _, err := tx.ExecContext(ctx, `INSERT INTO batch_keys (key, max_tokens, batch) VALUES (?, ?, ?)`, k[:], r.maxTokens, id); err != nil {
					return err
				}
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO batch_requests (batch, line, first, keys, max_tokens, body) VALUES (?, ?, ?, ?, ?, ?)`,
				id, r.line, r.first, keys, r.maxTokens, pack(r.body)); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE batches SET requests = requests + ? WHERE id = ?`, len(requests), id)
		return err
	})
}

// setBatch moves a batch to a state, with what is known of it there.
func (s *Store) setBatch(ctx context.Context, b batchRow) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE batches SET state = ?, file = ?, batch = ? WHERE id = ? AND state != 'closed'`, b.state, b.file, b.batch, b.id)
		return err
	})
}

const batchColumns = `SELECT id, token, endpoint, state, requests, file, batch, created FROM batches `

func scanBatch(row interface{ Scan(...any) error }) (b batchRow, err error) {
	err = row.Scan(&b.id, &b.token, &b.endpoint, &b.state, &b.requests, &b.file, &b.batch, &b.created)
	return b, err
}

// batch is the row of a batch.
func (s *Store) batch(ctx context.Context, id int64) (batchRow, error) {
	b, err := scanBatch(s.db.QueryRowContext(ctx, batchColumns+`WHERE id = ?`, id))
	if err != nil {
		return b, s.explain("read from", err)
	}
	return b, nil
}

// openBatches are the batches that are not closed.
func (s *Store) openBatches(ctx context.Context) (all []batchRow, err error) {
	rows, err := s.db.QueryContext(ctx, batchColumns+`WHERE state NOT IN ('closed', 'planning') ORDER BY id`)
	if err != nil {
		return nil, s.explain("read from", err)
	}
	defer rows.Close()
	for rows.Next() {
		b, err := scanBatch(rows)
		if err != nil {
			return nil, s.explain("read from", err)
		}
		all = append(all, b)
	}
	if err := rows.Err(); err != nil {
		return nil, s.explain("read from", err)
	}
	return all, nil
}

// requestsOf visits the requests of a batch in their order, without holding more than some of them.
func (s *Store) requestsOf(ctx context.Context, id int64, visit func(batchRequest) error) error {
	const some = 200
	for last := 0; ; {
		rows, err := s.db.QueryContext(ctx, requestColumns+`WHERE batch = ? AND line > ? ORDER BY line LIMIT ?`, id, last, some)
		if err != nil {
			return s.explain("read from", err)
		}
		var part []batchRequest
		for rows.Next() {
			r, err := scanRequest(rows)
			if err != nil {
				_ = rows.Close()
				return s.explain("read from", err)
			}
			part = append(part, r)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return s.explain("read from", err)
		}
		for _, r := range part {
			if err := visit(r); err != nil {
				return err
			}
			last = r.line
		}
		if len(part) < some {
			return nil
		}
	}
}

const requestColumns = `SELECT line, first, keys, max_tokens, body FROM batch_requests `

func scanRequest(row interface{ Scan(...any) error }) (r batchRequest, err error) {
	var keys, body []byte
	if err := row.Scan(&r.line, &r.first, &keys, &r.maxTokens, &body); err != nil {
		return r, err
	}
	if r.body, err = unpacker().DecodeAll(body, nil); err != nil || len(keys)%len(Key{}) != 0 || len(keys) == 0 {
		return r, fmt.Errorf("request %d of a batch: %w", r.line, errDamaged)
	}
	for ; len(keys) > 0; keys = keys[len(Key{}):] {
		r.keys = append(r.keys, Key(keys[:len(Key{})]))
	}
	return r, nil
}

// requestOf is one request of a batch; ok is false where the batch has none of that number, or is closed.
func (s *Store) requestOf(ctx context.Context, id int64, line int) (r batchRequest, ok bool, err error) {
	r, err = scanRequest(s.db.QueryRowContext(ctx, requestColumns+`WHERE batch = ? AND line = ?`, id, line))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, false, nil
	case err != nil:
		return r, false, s.explain("read from", err)
	}
	return r, true, nil
}

// closeBatch ends a batch. Its requests are free: those that have no answer may be asked again.
func (s *Store) closeBatch(ctx context.Context, id int64, outcome string) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{`DELETE FROM batch_keys WHERE batch = ?`, `DELETE FROM batch_requests WHERE batch = ?`} {
			if _, err := tx.ExecContext(ctx, query, id); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE batches SET state = 'closed', outcome = ? WHERE id = ?`, outcome, id)
		return err
	})
}
