package distill

import (
	"context"
	"database/sql"
	"encoding/json"
)

// applicationID marks a SQLite file as a response store.
const applicationID = 0x5354494c // "STIL"

// A migration brings a store's schema from one version to the next: statements, and then what they cannot do.
type migration struct {
	statements string
	fill       func(ctx context.Context, tx *sql.Tx) error
}

// migrations are all there were: a store's version is how many of them it has seen. Those that were ever released never
// change, and each has a store in testdata/store that was made before it.
var migrations = []migration{
	// One row of responses is what came for one request; one row of answers is one of its choices. max_tokens is 0
	// where the request had no limit.
	{`CREATE TABLE responses (
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
	CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;`, nil},

	// Every row gets a checksum, see storesum.go; a response its model as the request calls it and what the endpoint
	// counted, so that a store can be looked over without unpacking its bodies. A fact is something that was learned
	// about a teacher.
	{`ALTER TABLE responses ADD COLUMN model TEXT NOT NULL DEFAULT '';
	ALTER TABLE responses ADD COLUMN prompt_tokens INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE responses ADD COLUMN completion_tokens INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE responses ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE answers ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
	CREATE TABLE facts (
		teacher TEXT NOT NULL,
		name    TEXT NOT NULL,
		value   TEXT NOT NULL,
		learned INTEGER NOT NULL, -- Unix time in milliseconds
		sum     INTEGER NOT NULL,
		PRIMARY KEY (teacher, name)
	) WITHOUT ROWID;`, fillSums},

	// Which requests are on their way by the Batch API.
	{batchSchema, nil},

	// What rewards said of candidates.
	{scoreSchema, nil},
}

// fillSums gives the rows of a store of version 1 what is new in version 2.
func fillSums(ctx context.Context, tx *sql.Tx) error {
	// The checksum of an answer's row takes in that of the response's body: they wait here between the two tables.
	if _, err := tx.ExecContext(ctx, `CREATE TEMP TABLE bodies (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL)`); err != nil {
		return err
	}
	err := eachOf(ctx, tx, `SELECT id, teacher, request, header, body, created FROM responses WHERE id > ? ORDER BY id LIMIT 256`,
		func(r *responseRow) []any {
			return []any{&r.id, &r.teacher, &r.request, &r.header, &r.body, &r.created}
		},
		func(r *responseRow) []any { return []any{r.id} }, []any{-1 << 63},
		func(r *responseRow) error {
			r.model = modelOf(r.request)
			if reply, err := unpackReply(r.body); err == nil { // else the row keeps what it has, and verify tells
				r.promptTokens, r.completionTokens = reply.promptTokens, reply.completionTokens
			}
			if _, err := tx.ExecContext(ctx, `UPDATE responses SET model = ?, prompt_tokens = ?, completion_tokens = ?, sum = ? WHERE id = ?`,
				r.model, r.promptTokens, r.completionTokens, r.checksum(), r.id); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO bodies (id, sum) VALUES (?, ?)`, r.id, sumOf(r.body))
			return err
		})
	if err != nil {
		return err
	}
	type bound struct {
		answerRow
		body int64
	}
	err = eachOf(ctx, tx, `SELECT a.key, a.max_tokens, a.sample, a.response, a.choice, a.finish_reason, coalesce(b.sum, 0)
		FROM answers a LEFT JOIN bodies b ON b.id = a.response WHERE (a.key, a.max_tokens) > (?, ?) ORDER BY a.key, a.max_tokens LIMIT 1024`,
		func(a *bound) []any {
			return []any{&a.key, &a.maxTokens, &a.sample, &a.response, &a.choice, &a.finish, &a.body}
		},
		func(a *bound) []any { return []any{a.key, a.maxTokens} }, []any{[]byte{}, -1},
		func(a *bound) error {
			_, err := tx.ExecContext(ctx, `UPDATE answers SET sum = ? WHERE key = ? AND max_tokens = ?`, a.checksum(a.body), a.key, a.maxTokens)
			return err
		})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DROP TABLE bodies`)
	return err
}

// eachOf calls do for all rows of a query that gives a piece at a time: rows must not be changed while they are read.
// The query's arguments are the last row's place.
func eachOf[T any](ctx context.Context, tx *sql.Tx, query string, columns, place func(*T) []any, from []any, do func(*T) error) error {
	for {
		rows, err := tx.QueryContext(ctx, query, from...)
		if err != nil {
			return err
		}
		var piece []T
		for rows.Next() {
			var r T
			if err := rows.Scan(columns(&r)...); err != nil {
				_ = rows.Close()
				return err
			}
			piece = append(piece, r)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if len(piece) == 0 {
			return nil
		}
		for i := range piece {
			if err := do(&piece[i]); err != nil {
				return err
			}
		}
		from = place(&piece[len(piece)-1])
	}
}

// modelOf is the model that a packed request names, "" where it cannot be read.
func modelOf(request []byte) string {
	body, err := unpacker().DecodeAll(request, nil)
	if err != nil {
		return ""
	}
	var w struct {
		Model string `json:"model"`
	}
	if json.Unmarshal(body, &w) != nil {
		return ""
	}
	return w.Model
}
