package distill

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/mattn/go-sqlite3"
)

// All lookups and puts of a process go through one goroutine with one connection. That is faster than a pool: what is
// waiting is done in one transaction, whose cost is shared the better the more there is; the connection's page cache
// stays good, since SQLite throws a connection's cache away whenever another one has written; and the statements are
// prepared once. database/sql, which costs more than SQLite here, is left out.

// A job is a lookup or an exchange.
type job struct {
	lookup   *lookup
	exchange *exchange
}

// A lookup is a set of keys whose answers somebody waits for.
type lookup struct {
	keys      []Key
	maxTokens int

	hits   []hit
	bodies map[int64][]byte // of the hits' responses, packed
	err    error
	ready  chan struct{}
}

// A hit is an answer that was found.
type hit struct {
	key Key
	row answerRow // without its key
}

// maxBatch bounds how many jobs share one transaction.
const maxBatch = 512

// serve does all that comes through the queue.
func (s *Store) serve(q *statements) {
	defer close(s.done)
	defer q.close()
	var lookups []*lookup
	var exchanges []*exchange
	sort := func(j job) {
		if j.lookup != nil {
			lookups = append(lookups, j.lookup)
		} else {
			exchanges = append(exchanges, j.exchange)
		}
	}
	for j := range s.queue {
		sort(j)
	more:
		for len(lookups)+len(exchanges) < maxBatch {
			select {
			case j, ok := <-s.queue:
				if !ok {
					break more
				}
				sort(j)
			default:
				break more
			}
		}
		// Lookups come first: what they see must be durable, and what is put in the same round is not yet.
		if len(lookups) > 0 {
			q.lookUp(lookups)
			for i, l := range lookups {
				close(l.ready)
				lookups[i] = nil
			}
			lookups = lookups[:0]
		}
		if len(exchanges) > 0 {
			err := q.commit(exchanges)
			for i, e := range exchanges {
				e.err = err
				close(e.ready)
				exchanges[i] = nil
			}
			exchanges = exchanges[:0]
		}
	}
}

// statements are the prepared statements of the connection.
type statements struct {
	begin, write, commitNow, rollback *statement
	find, body                        *statement
	last, response, answer            *statement
}

func prepare(conn *sqlite3.SQLiteConn) (q *statements, err error) {
	q = &statements{}
	for _, p := range []struct {
		to      **statement
		query   string
		columns int
	}{
		{&q.begin, `BEGIN`, 0},
		{&q.write, `BEGIN IMMEDIATE`, 0},
		{&q.commitNow, `COMMIT`, 0},
		{&q.rollback, `ROLLBACK`, 0},
		{&q.find, `SELECT max_tokens, sample, response, choice, finish_reason, sum FROM answers WHERE key = ?`, 6},
		{&q.body, `SELECT body FROM responses WHERE id = ?`, 1},
		{&q.last, `SELECT coalesce(max(id), 0) FROM responses`, 1},
		{&q.response, `INSERT INTO responses (id, teacher, request, header, body, created, model, prompt_tokens, completion_tokens, sum)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, 0},
		{&q.answer, `INSERT INTO answers (key, max_tokens, sample, response, choice, finish_reason, sum) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, 0},
	} {
		if *p.to, err = newStatement(conn, p.query, p.columns); err != nil {
			q.close()
			return nil, err
		}
	}
	return q, nil
}

func (q *statements) close() {
	for _, st := range []*statement{q.begin, q.write, q.commitNow, q.rollback, q.find, q.body, q.last, q.response, q.answer} {
		if st != nil {
			_ = st.stmt.Close() // says again how its last use ended
		}
	}
}

// lookUp does lookups in one transaction, so that SQLite's locks are taken once.
func (q *statements) lookUp(ls []*lookup) {
	if _, err := q.begin.exec(); err != nil {
		for _, l := range ls {
			l.err = err
		}
		return
	}
	for _, l := range ls {
		l.err = q.lookUpOne(l)
	}
	if _, err := q.commitNow.exec(); err != nil {
		_, _ = q.rollback.exec()
	}
}

func (q *statements) lookUpOne(l *lookup) error {
	for i := range l.keys {
		best := hit{key: l.keys[i]}
		var exact bool
		err := q.find.query(func(row []driver.Value) error {
			a, err := scanAnswer(row)
			if err != nil {
				return err
			}
			same := a.maxTokens == int64(l.maxTokens)
			whole := a.finish != "length" && a.maxTokens != 0 && (l.maxTokens == 0 || a.maxTokens < int64(l.maxTokens))
			if !exact && (same || whole && (best.row.response == 0 || a.response < best.row.response)) {
				best.row, exact = a, same
			}
			return nil
		}, l.keys[i][:])
		if err != nil {
			return err
		}
		if best.row.response == 0 {
			continue
		}
		l.hits = append(l.hits, best)
		if _, ok := l.bodies[best.row.response]; ok {
			continue
		}
		if l.bodies == nil {
			l.bodies = make(map[int64][]byte, 1)
		}
		err = q.body.query(func(row []driver.Value) error {
			l.bodies[best.row.response], _ = row[0].([]byte)
			return nil
		}, best.row.response)
		if err != nil {
			return err
		}
	}
	return nil
}

// scanAnswer reads what find gives. Values of other types than those that were written are damage.
func scanAnswer(row []driver.Value) (a answerRow, err error) {
	ok := true
	for i, to := range []*int64{&a.maxTokens, &a.sample, &a.response, &a.choice} {
		var fits bool
		*to, fits = row[i].(int64)
		ok = ok && fits
	}
	var fits [2]bool
	a.finish, fits[0] = row[4].(string)
	a.sum, fits[1] = row[5].(int64)
	if !ok || !fits[0] || !fits[1] {
		return a, fmt.Errorf("an answer's row cannot be read: %w", errDamaged)
	}
	return a, nil
}

// busyTries is how often a transaction is begun that another process does not let begin: each time for the 30 seconds
// that SQLite waits. `stillhouse store gc --vacuum` may write a large file anew meanwhile, and what has been paid for must
// not be thrown away for that.
const busyTries = 20

func (q *statements) lock() error {
	for tries := 1; ; tries++ {
		_, err := q.write.exec()
		var e sqlite3.Error
		if !errors.As(err, &e) || e.Code != sqlite3.ErrBusy || tries == busyTries {
			return err
		}
	}
}

// commit stores exchanges in one transaction: all or none.
func (q *statements) commit(es []*exchange) (err error) {
	if err := q.lock(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = q.rollback.exec()
		}
	}()
	var id int64
	if err := q.last.query(func(row []driver.Value) error { id, _ = row[0].(int64); return nil }); err != nil {
		return err
	}
	for _, e := range es {
		id++
		e.fresh = 0
		body := sumOf(e.body)
		for i := range e.rows {
			a := &e.rows[i]
			a.response = id
			n, err := q.answer.exec(a.key, a.maxTokens, a.sample, a.response, a.choice, a.finish, a.checksum(body))
			if err != nil {
				return err
			}
			e.fresh += int(n)
		}
		if e.fresh == 0 && !e.must {
			id--
			continue
		}
		r := responseRow{id: id, teacher: e.teacher, model: e.model, request: e.request, header: e.header, body: e.body, created: e.at.UnixMilli(),
			promptTokens: e.reply.promptTokens, completionTokens: e.reply.completionTokens}
		if _, err := q.response.exec(r.id, r.teacher, r.request, r.header, r.body, r.created, r.model, r.promptTokens, r.completionTokens, r.checksum()); err != nil {
			return err
		}
	}
	_, err = q.commitNow.exec()
	return err
}

// A statement is a prepared statement with the room for its arguments and its row.
type statement struct {
	stmt *sqlite3.SQLiteStmt
	args []driver.NamedValue
	row  []driver.Value
}

func newStatement(conn *sqlite3.SQLiteConn, query string, columns int) (*statement, error) {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return nil, err
	}
	st := &statement{stmt: stmt.(*sqlite3.SQLiteStmt), row: make([]driver.Value, columns)}
	st.args = make([]driver.NamedValue, stmt.NumInput())
	for i := range st.args {
		st.args[i].Ordinal = i + 1
	}
	return st, nil
}

func (st *statement) bind(values []driver.Value) {
	for i, v := range values {
		st.args[i].Value = v
	}
}

// exec runs a statement that gives no rows and returns how many it changed.
func (st *statement) exec(values ...driver.Value) (changed int64, err error) {
	st.bind(values)
	r, err := st.stmt.ExecContext(context.Background(), st.args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls do for each row, which it may keep the values of, but not the slice.
func (st *statement) query(do func(row []driver.Value) error, values ...driver.Value) error {
	st.bind(values)
	rows, err := st.stmt.QueryContext(context.Background(), st.args)
	if err != nil {
		return err
	}
	for {
		if err := rows.Next(st.row); errors.Is(err, io.EOF) {
			return rows.Close()
		} else if err != nil {
			_ = rows.Close()
			return err
		}
		if err := do(st.row); err != nil {
			_ = rows.Close()
			return err
		}
	}
}
