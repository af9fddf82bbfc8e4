package distill

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mattn/go-sqlite3"
)

// A Damage is something in a store that is not as it was written.
type Damage struct {
	Response int64  `json:"response,omitempty"` // its row, 0 where it is not known
	Key      string `json:"key,omitempty"`      // of the answer, "" where it is not one
	What     string `json:"what"`
}

// walk calls do for every response with its answers, in the order in which they came. Where the file is damaged, it
// tells so and goes on behind the damage: what can be read is read. It holds one response at a time in memory: the
// answers, which lie by their keys, are put in order in a temporary file.
func (r *StoreReader) walk(ctx context.Context, damage func(Damage), do func(*responseRow, []answerRow) error) error {
	// Not a temporary table of the same connection: when that has met a damaged page, SQLite may refuse to write.
	scratch, err := sql.Open("sqlite3", "") // a file without a name, which goes with the connection
	if err != nil {
		return err
	}
	defer scratch.Close()
	ordered, err := scratch.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = ordered.Rollback() }()
	if err := r.orderAnswers(ctx, ordered, damage); err != nil {
		return err
	}
	answers, err := ordered.QueryContext(ctx, `SELECT response, choice, key, max_tokens, sample, finish_reason, sum FROM ordered ORDER BY response, choice, key, max_tokens`)
	if err != nil {
		return err
	}
	defer answers.Close()
	next := func() (*answerRow, error) {
		if !answers.Next() {
			return nil, answers.Err()
		}
		a := &answerRow{}
		return a, answers.Scan(&a.response, &a.choice, &a.key, &a.maxTokens, &a.sample, &a.finish, &a.sum)
	}
	waiting, err := next()
	if err != nil {
		return r.explain(err)
	}
	// take gives the answers of a response, and tells of those of earlier ones, which are not there.
	take := func(id int64) (own []answerRow, err error) {
		for waiting != nil && waiting.response <= id {
			if waiting.response == id {
				own = append(own, *waiting)
			} else {
				damage(Damage{waiting.response, fmt.Sprintf("%x", waiting.key), "the response of this answer is not there"})
			}
			if waiting, err = next(); err != nil {
				return nil, r.explain(err)
			}
		}
		return own, nil
	}
	err = r.eachResponse(ctx, damage, func(row *responseRow) error {
		own, err := take(row.id)
		if err != nil {
			return err
		}
		return do(row, own)
	})
	if err != nil {
		return err
	}
	if _, err := take(math.MaxInt64); err != nil {
		return err
	}
	return nil
}

// orderAnswers copies the rows of answers into a table in the order of their responses.
func (r *StoreReader) orderAnswers(ctx context.Context, ordered *sql.Tx, damage func(Damage)) error {
	_, err := ordered.ExecContext(ctx, `CREATE TABLE ordered (response, choice, key, max_tokens, sample, finish_reason, sum)`)
	if err != nil {
		return err
	}
	insert, err := ordered.PrepareContext(ctx, `INSERT INTO ordered VALUES (?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	read := func(key []byte, maxTokens int64, limit int, do func(values []any) error) error {
		last := key
		inOrder := func(v []any) error {
			k, _ := v[2].([]byte)
			if bytes.Compare(k, last) < 0 { // without this, a tree that leads back into itself would have no end
				return fmt.Errorf("the keys are not in order: %w", errDamaged)
			}
			last = k
			return do(v)
		}
		return r.each(ctx, 7, inOrder, `SELECT response, choice, key, max_tokens, sample, finish_reason, sum FROM answers
			WHERE (key, max_tokens) > (?, ?) ORDER BY key, max_tokens LIMIT ?`, key, maxTokens, limit)
	}
	key, maxTokens := []byte{}, int64(math.MaxInt64)
	for {
		n := 0
		var failed error // of the table in order
		err := read(key, maxTokens, 4096, func(v []any) error {
			n++
			a, ok := answerOf(v)
			key, _ = v[2].([]byte)
			maxTokens, _ = v[3].(int64)
			if !ok {
				damage(Damage{a.response, fmt.Sprintf("%x", a.key), "the row of this answer cannot be read"})
				return nil
			}
			_, failed = insert.ExecContext(ctx, a.response, a.choice, a.key, a.maxTokens, a.sample, a.finish, a.sum)
			return failed
		})
		switch {
		case failed != nil:
			return fmt.Errorf("put the answers of %s in order in a temporary file: %w: free some space, or name another folder in TMPDIR", r.path, failed)
		case err == nil && n < 4096:
			return nil
		case err == nil:
			continue
		case !isDamage(err):
			return r.explain(err)
		}
		// Keys are evenly spread: a jump in their first eight bytes is one over a part of the table.
		from := uint64(0)
		if len(key) >= 8 {
			from = binary.BigEndian.Uint64(key)
		}
		to, ok := skip(from, math.MaxUint64, func(at uint64) error {
			return read(binary.BigEndian.AppendUint64(nil, at), math.MaxInt64, 1, func([]any) error { return nil })
		})
		if !ok {
			damage(Damage{What: fmt.Sprintf("the answers from key %016x… on cannot be read: %v", from, err)})
			return nil
		}
		damage(Damage{What: fmt.Sprintf("the answers between the keys %016x… and %016x… cannot be read: %v", from, to, err)})
		key, maxTokens = binary.BigEndian.AppendUint64(nil, to), math.MaxInt64
	}
}

// eachResponse calls do for the rows of responses by their id.
func (r *StoreReader) eachResponse(ctx context.Context, damage func(Damage), do func(*responseRow) error) error {
	read := func(after int64, limit int, do func(values []any) error) error {
		inOrder := func(v []any) error {
			id, _ := v[0].(int64)
			if id <= after {
				return fmt.Errorf("the responses are not in order: %w", errDamaged)
			}
			after = id
			return do(v)
		}
		return r.each(ctx, 10, inOrder, `SELECT id, teacher, model, request, header, body, created, prompt_tokens, completion_tokens, sum
			FROM responses WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
	}
	after := int64(math.MinInt64)
	for {
		n := 0
		var failed error // of do, which is another's error
		err := read(after, 64, func(v []any) error {
			n++
			row, ok := responseOf(v)
			after = row.id
			if !ok {
				damage(Damage{row.id, "", "the row of this response cannot be read"})
				return nil
			}
			failed = do(row)
			return failed
		})
		switch {
		case failed != nil:
			return failed
		case err == nil && n < 64:
			return nil
		case err == nil:
			continue
		case !isDamage(err):
			return r.explain(err)
		}
		from := max(after, 0)
		to, ok := skip(uint64(from), math.MaxInt64-1, func(at uint64) error {
			return read(int64(at), 1, func([]any) error { return nil })
		})
		if !ok {
			damage(Damage{What: fmt.Sprintf("the responses after %d cannot be read: %v", from, err)})
			return nil
		}
		damage(Damage{What: fmt.Sprintf("the responses %d to %d cannot be read: %v", from+1, to, err)})
		after = int64(to)
	}
}

// skip finds the end of what cannot be read after a place: how far one must go until try succeeds. It takes for granted
// that one piece cannot be read; behind several that lie close together it may begin after the last.
func skip(from, most uint64, try func(at uint64) error) (to uint64, ok bool) {
	bad, step := from, uint64(1)
	for ; ; step *= 2 {
		if step > most-from || step == 0 {
			return 0, false
		}
		if try(from+step) == nil {
			break
		}
		bad = from + step
	}
	good := from + step
	for good-bad > 1 {
		if middle := bad + (good-bad)/2; try(middle) == nil {
			good = middle
		} else {
			bad = middle
		}
	}
	return good, true
}

// each calls do for the rows of a query, as values of whatever types they have: in a damaged file they may have any.
func (r *StoreReader) each(ctx context.Context, columns int, do func(values []any) error, query string, args ...any) error {
	return eachRow(ctx, r.tx, columns, do, query, args...)
}

func eachRow(ctx context.Context, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, columns int, do func(values []any) error, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	values, to := make([]any, columns), make([]any, columns)
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		if err := do(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

func answerOf(v []any) (a answerRow, ok bool) {
	ok = true
	take(&a.response, v[0], &ok)
	take(&a.choice, v[1], &ok)
	take(&a.key, v[2], &ok)
	take(&a.maxTokens, v[3], &ok)
	take(&a.sample, v[4], &ok)
	take(&a.finish, v[5], &ok)
	take(&a.sum, v[6], &ok)
	return a, ok && len(a.key) == len(Key{})
}

func responseOf(v []any) (r *responseRow, ok bool) {
	r, ok = &responseRow{}, true
	take(&r.id, v[0], &ok)
	take(&r.teacher, v[1], &ok)
	take(&r.model, v[2], &ok)
	take(&r.request, v[3], &ok)
	take(&r.header, v[4], &ok)
	take(&r.body, v[5], &ok)
	take(&r.created, v[6], &ok)
	take(&r.promptTokens, v[7], &ok)
	take(&r.completionTokens, v[8], &ok)
	take(&r.sum, v[9], &ok)
	return r, ok
}

// take reads a value of one type and no other.
func take[T any](to *T, value any, ok *bool) {
	v, fits := value.(T)
	*to = v
	*ok = *ok && fits
}

// isDamage reports whether an error is of a file whose bytes have changed, and not of the disk or the user.
func isDamage(err error) bool {
	var e sqlite3.Error
	return errors.Is(err, errDamaged) || errors.As(err, &e) && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB)
}
