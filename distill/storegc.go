package distill

import (
	"context"
	"database/sql"
	"math"
	"time"

	"stillhouse"
)

// superseded is the condition on a row a of answers that it is truncated and its key has a whole answer with a higher
// limit of tokens.
const superseded = `a.finish_reason = 'length' AND a.max_tokens != 0 AND EXISTS (SELECT 1 FROM answers b
	WHERE b.key = a.key AND (b.max_tokens > a.max_tokens OR b.max_tokens = 0) AND b.finish_reason != 'length')`

// A Cleaning says what is deleted from a store. Teacher, Model and Before select responses, of which all is deleted
// with their answers; all that are given must hold. Teacher alone deletes what was learned about it, too. Superseded and Unused narrow that down, or select by themselves.
type Cleaning struct {
	Teacher string
	Model   string
	Before  time.Time // responses that came before this moment

	// Superseded selects truncated answers only, and of these the ones whose key has a whole answer with a higher limit of
	// tokens. A run with the lower limit asks for them again.
	Superseded bool
	// Unused selects responses that no answer is read from: others had been stored for all that they were asked for.
	Unused bool

	// Scores selects scores of rewards alone, which are asked for again when they are wanted; with Before, those that are
	// older.
	Scores bool

	DryRun bool // says what would be deleted
	Vacuum bool // gives the free space back to the disk, for which the file is written anew
}

// Cleaned says what a cleaning deleted, or would delete.
type Cleaned struct {
	Responses int64 `json:"responses"`
	Answers   int64 `json:"answers"`
	Tokens    int64 `json:"completion_tokens"` // of the responses
	Scores    int64 `json:"scores"`
	Before    int64 `json:"bytes_before"` // of the file
	After     int64 `json:"bytes_after"`
	Free      int64 `json:"bytes_free"` // in the file, for what comes
}

// gcPiece is how many rows one transaction deletes: runs that use the store meanwhile wait for no longer than that.
const gcPiece = 1000

// Clean deletes what is selected, and nothing where nothing is. Runs may go on meanwhile.
func (s *Store) Clean(ctx context.Context, c Cleaning) (done Cleaned, err error) {
	selects := c.Teacher != "" || c.Model != "" || !c.Before.IsZero() || c.Superseded || c.Unused
	if c.Scores && (c.Teacher != "" || c.Model != "" || c.Superseded || c.Unused) {
		return done, stillhouse.Invalidf("--scores selects what rewards said, which is of no teacher and no response: give it alone, or with --older-than")
	}
	if !selects && !c.Vacuum && !c.Scores {
		return done, stillhouse.Invalidf("nothing is selected, so nothing is deleted: say what, by --older-than, --teacher, --model, --superseded, --unused or --scores")
	}
	if c.Superseded && c.Unused {
		return done, stillhouse.Invalidf("--superseded selects answers and --unused responses without any: clean up by one after the other")
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return done, s.explain("clean up", err)
	}
	defer conn.Close()
	g := &cleaner{conn: conn, ctx: ctx}
	done.Before, _ = g.size()
	switch {
	case c.Scores:
		g.deleteScores(c, &done)
	case selects:
		g.selectRows(c)
		done.Responses = g.count(`SELECT count(*) FROM temp.doomed`)
		done.Answers = g.count(`SELECT count(*) FROM temp.gone`)
		done.Tokens = g.count(`SELECT coalesce(sum(completion_tokens), 0) FROM responses WHERE id IN (SELECT id FROM temp.doomed)`)
		if !c.DryRun {
			g.deleteRows()
			if c == (Cleaning{Teacher: c.Teacher, Vacuum: c.Vacuum}) { // all there was of a teacher
				g.do(`DELETE FROM facts WHERE teacher = ?`, c.Teacher)
			}
		}
		g.do(`DROP TABLE temp.gone`)
		g.do(`DROP TABLE temp.doomed`)
	}
	if c.Vacuum && !c.DryRun {
		g.do(`VACUUM`)
	}
	if !c.DryRun {
		g.do(`PRAGMA wal_checkpoint(TRUNCATE)`) // as far as runs that use the store let it
	}
	done.After, done.Free = g.size()
	if g.err != nil {
		return done, s.explain("clean up", g.err)
	}
	return done, nil
}

// A cleaner does statements until one fails.
type cleaner struct {
	ctx  context.Context
	conn *sql.Conn
	err  error
}

func (g *cleaner) do(query string, args ...any) (changed int64) {
	if g.err != nil {
		return 0
	}
	r, err := g.conn.ExecContext(g.ctx, query, args...)
	if err != nil {
		g.err = err
		return 0
	}
	changed, g.err = r.RowsAffected()
	return changed
}

func (g *cleaner) count(query string) (n int64) {
	if g.err == nil {
		g.err = g.conn.QueryRowContext(g.ctx, query).Scan(&n)
	}
	return n
}

// size is how large the database is, without its log, and how much of that is free.
func (g *cleaner) size() (bytes, free int64) {
	page := g.count(`PRAGMA page_size`)
	return page * g.count(`PRAGMA page_count`), page * g.count(`PRAGMA freelist_count`)
}

// deleteScores deletes scores that are older than a moment, or all.
func (g *cleaner) deleteScores(c Cleaning, done *Cleaned) {
	before := int64(math.MaxInt64)
	if !c.Before.IsZero() {
		before = c.Before.UnixMilli()
	}
	if g.err == nil {
		g.err = g.conn.QueryRowContext(g.ctx, `SELECT count(*) FROM scores WHERE created < ?`, before).Scan(&done.Scores)
	}
	for !c.DryRun && g.do(`DELETE FROM scores WHERE key IN (SELECT key FROM scores WHERE created < ? LIMIT ?)`, before, gcPiece) > 0 {
	}
}

// selectRows puts what is to be deleted into two temporary tables: doomed, the responses, and gone, the answers.
func (g *cleaner) selectRows(c Cleaning) {
	g.do(`CREATE TEMP TABLE doomed (id INTEGER PRIMARY KEY)`)
	g.do(`CREATE TEMP TABLE gone (key BLOB, max_tokens INTEGER, response INTEGER)`)
	where, args := Selection{Teacher: c.Teacher, Model: c.Model, Before: c.Before}.where("r")
	switch {
	case c.Superseded:
		g.do(`INSERT INTO temp.gone SELECT a.key, a.max_tokens, a.response FROM answers a JOIN responses r ON r.id = a.response
			WHERE `+superseded+` AND `+where, args...)
		// Responses of which nothing is left go too.
		g.do(`INSERT INTO temp.doomed SELECT response FROM (SELECT response, count(*) AS n FROM temp.gone GROUP BY response) g
			JOIN (SELECT response, count(*) AS n FROM answers GROUP BY response) a USING (response) WHERE g.n = a.n`)
	case c.Unused:
		g.do(`INSERT INTO temp.doomed SELECT r.id FROM responses r WHERE r.id NOT IN (SELECT response FROM answers) AND `+where, args...)
	default:
		g.do(`INSERT INTO temp.doomed SELECT r.id FROM responses r WHERE `+where, args...)
		g.do(`INSERT INTO temp.gone SELECT key, max_tokens, response FROM answers WHERE response IN (SELECT id FROM temp.doomed)`)
	}
}

// deleteRows deletes the answers before the responses: a process that is killed in between leaves responses without
// answers, and never an answer without its response. The responses go in the order of their ids, so that the highest,
// by which the next id is found, is there to the end: an id is not given again while its answers are being deleted.
func (g *cleaner) deleteRows() {
	for from, last := int64(0), g.count(`SELECT coalesce(max(rowid), 0) FROM temp.gone`); from < last && g.err == nil; from += gcPiece {
		g.do(`DELETE FROM answers WHERE (key, max_tokens, response) IN (SELECT key, max_tokens, response FROM temp.gone WHERE rowid > ? AND rowid <= ?)`, from, from+gcPiece)
	}
	for g.err == nil && g.count(`SELECT count(*) FROM temp.doomed`) > 0 {
		g.do(`DELETE FROM responses WHERE id IN (SELECT id FROM temp.doomed ORDER BY id LIMIT ?)`, gcPiece)
		g.do(`DELETE FROM temp.doomed WHERE id IN (SELECT id FROM temp.doomed ORDER BY id LIMIT ?)`, gcPiece)
	}
}
