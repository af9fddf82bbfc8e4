package distill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A Store is the response store: every answer that was ever paid for, kept by the content of its request and shared by
// all runs. It is a SQLite database that several goroutines and several processes use at once.
//
// An answer is in the store when Put returns: a process that is killed at any moment after that loses nothing. The
// database is synced at checkpoints, not at each commit (WAL mode, synchronous=NORMAL): a power cut can take the last
// moments' answers with it, which are then asked for again, and never damages the file. To sync each commit would cap
// the answers a second at what a disk can sync, for the sake of a loss that costs a handful of requests.
//
// Keys of endpoints are never stored: requests are kept without their headers, and of the headers of an answer only
// those that are named in keptHeaders.
type Store struct {
	path  string
	db    *sql.DB
	queue chan *exchange
	done  chan struct{} // closed when the last commit is through

	mu     sync.RWMutex // guards closed
	closed bool
}

// An exchange is a request that was answered, on its way into the store.
type exchange struct {
	teacher   string
	keys      []Key // those of the samples asked for
	first     int   // the number of the first sample
	maxTokens int
	reply     reply
	request   []byte // bodies, compressed
	header    []byte
	body      []byte
	at        time.Time

	fresh int // how many of the answers are in the store by this exchange
	err   error
	ready chan struct{}
}

// Get looks up the answers to some keys. Under a limit of maxTokens (0 for none) an answer is the one that was asked
// for with the same limit, else the oldest that was asked for with a lower limit and did not run into it: such an
// answer is whole, and a truncated one is asked for again.
func (s *Store) Get(ctx context.Context, keys []Key, maxTokens int) (map[Key]Answer, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	args := make([]any, len(keys))
	for i := range keys {
		args[i] = keys[i][:]
	}
	rows, err := s.db.QueryContext(ctx, `SELECT a.key, a.max_tokens, a.finish_reason, a.choice, a.response, r.body
		FROM answers a JOIN responses r ON r.id = a.response WHERE a.key IN (?`+strings.Repeat(",?", len(keys)-1)+`) ORDER BY a.response`, args...)
	if err != nil {
		return nil, s.explain("read from", err)
	}
	defer rows.Close()
	found := make(map[Key]Answer, len(keys))
	exact := make(map[Key]bool, len(keys))
	parsed := make(map[int64]reply, 1)
	for rows.Next() {
		var key, body sql.RawBytes
		var limit, choice int
		var response int64
		var finish string
		if err := rows.Scan(&key, &limit, &finish, &choice, &response, &body); err != nil {
			return nil, s.explain("read from", err)
		}
		var k Key
		copy(k[:], key)
		_, have := found[k]
		whole := finish != "length" && limit != 0 && (maxTokens == 0 || limit < maxTokens)
		if exact[k] || (limit != maxTokens && (have || !whole)) {
			continue
		}
		r, ok := parsed[response]
		if !ok {
			if r, err = unpackReply(body); err != nil {
				return nil, s.explain("read from", fmt.Errorf("response %d is damaged: %w", response, errDamaged))
			}
			parsed[response] = r
		}
		if choice < 0 || choice >= len(r.answers) {
			return nil, s.explain("read from", fmt.Errorf("response %d is damaged: it has no answer %d: %w", response, choice, errDamaged))
		}
		found[k], exact[k] = r.answers[choice], limit == maxTokens
	}
	if err := rows.Err(); err != nil {
		return nil, s.explain("read from", err)
	}
	return found, nil
}

// put makes an exchange durable and waits for it. Where another run stored an answer to one of the keys first, that
// one stays and e.fresh is less than the number of answers.
func (s *Store) put(e *exchange) error {
	e.ready = make(chan struct{})
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errors.New("the response store is closed")
	}
	s.queue <- e
	s.mu.RUnlock()
	<-e.ready
	return e.err
}

// maxCommit bounds how many exchanges share one transaction.
const maxCommit = 512

// write is the only writer of this process: it commits all that is waiting in one transaction, so that the cost of a
// commit is shared the better the more answers come in.
func (s *Store) write() {
	defer close(s.done)
	for e := range s.queue {
		batch := []*exchange{e}
	more:
		for len(batch) < maxCommit {
			select {
			case e, ok := <-s.queue:
				if !ok {
					break more
				}
				batch = append(batch, e)
			default:
				break more
			}
		}
		err := s.commit(batch)
		for _, e := range batch {
			e.err = err
			close(e.ready)
		}
	}
}

func (s *Store) commit(batch []*exchange) (err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return s.explain("write to", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
			err = s.explain("write to", err)
		}
	}()
	response, err := tx.Prepare(`INSERT INTO responses (teacher, request, header, body, created) VALUES (?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer response.Close()
	answer, err := tx.Prepare(`INSERT INTO answers (key, max_tokens, sample, response, choice, finish_reason) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
	if err != nil {
		return err
	}
	defer answer.Close()
	for _, e := range batch {
		r, err := response.Exec(e.teacher, e.request, e.header, e.body, e.at.UnixMilli())
		if err != nil {
			return err
		}
		id, err := r.LastInsertId()
		if err != nil {
			return err
		}
		e.fresh = 0
		for i, a := range e.reply.answers[:min(len(e.reply.answers), len(e.keys))] {
			r, err := answer.Exec(e.keys[i][:], e.maxTokens, e.first+i, id, i, a.FinishReason)
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			e.fresh += int(n)
		}
	}
	return tx.Commit()
}

// Close waits for what is being written and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	<-s.done
	if err := s.db.Close(); err != nil {
		return s.explain("close", err)
	}
	return nil
}

// Path is the store's file.
func (s *Store) Path() string { return s.path }

// Count is how many answers the store holds.
func (s *Store) Count(ctx context.Context) (n int64, err error) {
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM answers`).Scan(&n); err != nil {
		return 0, s.explain("read from", err)
	}
	return n, nil
}

// Bodies are packed with zstd, whose frames carry a checksum: flipped bits are found when they are read.
var (
	packer   = sync.OnceValue(func() *zstd.Encoder { return must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))) })
	unpacker = sync.OnceValue(func() *zstd.Decoder {
		return must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(2*maxBody)))
	})
)

func pack(b []byte) []byte { return packer().EncodeAll(b, make([]byte, 0, len(b)/2+64)) }

func unpackReply(b []byte) (reply, error) {
	body, err := unpacker().DecodeAll(b, nil)
	if err != nil {
		return reply{}, err
	}
	return parseReply(body)
}

// must is for constructors that fail only where their options are wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
