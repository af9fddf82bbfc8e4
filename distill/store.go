package distill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/mattn/go-sqlite3"
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
//
// A Store holds nothing of the answers in memory but SQLite's page cache, whose size is fixed.
type Store struct {
	path  string
	db    *sql.DB             // for what is done rarely
	hot   *sqlite3.SQLiteConn // for lookups and puts; used by serve alone
	queue chan job
	done  chan struct{} // closed when the last commit is through

	mu     sync.RWMutex // guards closed
	closed bool
}

// An exchange is a request that was answered, on its way into the store.
type exchange struct {
	teacher   string
	model     string // as the request calls it
	keys      []Key  // those of the samples asked for
	first     int    // the number of the first sample
	maxTokens int
	reply     reply
	request   []byte // bodies, compressed
	header    []byte
	body      []byte
	at        time.Time

	rows  []answerRow // made by put of the above; an import has them already
	must  bool        // the response is kept even if others have stored all its answers: it was paid for
	fresh int         // how many of the answers are in the store by this exchange
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
	l := &lookup{keys: keys, maxTokens: maxTokens, ready: make(chan struct{})}
	if err := s.submit(job{lookup: l}); err != nil {
		return nil, err
	}
	select {
	case <-l.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.err != nil {
		return nil, s.explain("read from", l.err)
	}
	if len(l.hits) == 0 {
		return nil, nil
	}
	found := make(map[Key]Answer, len(l.hits))
	parsed := make(map[int64]reply, len(l.bodies))
	for _, h := range l.hits {
		id, body := h.row.response, l.bodies[h.row.response]
		h.row.key = h.key[:]
		if h.row.checksum(sumOf(body)) != h.row.sum {
			return nil, s.explain("read from", fmt.Errorf("answer %s of response %d: %w", h.key, id, errDamaged))
		}
		r, ok := parsed[id]
		if !ok {
			var err error
			if r, err = unpackReply(body); err != nil {
				return nil, s.explain("read from", fmt.Errorf("response %d: %w: %w", id, errDamaged, err))
			}
			parsed[id] = r
		}
		if h.row.choice < 0 || h.row.choice >= int64(len(r.answers)) {
			return nil, s.explain("read from", fmt.Errorf("response %d has no answer %d: %w", id, h.row.choice, errDamaged))
		}
		found[h.key] = r.answers[h.row.choice]
	}
	return found, nil
}

// put makes an exchange durable and waits for it. Where another run stored an answer to one of the keys first, that
// one stays and e.fresh is less than the number of answers.
func (s *Store) put(e *exchange) error {
	e.must = true
	e.rows = make([]answerRow, min(len(e.reply.answers), len(e.keys)))
	for i := range e.rows {
		e.rows[i] = answerRow{key: e.keys[i][:], maxTokens: int64(e.maxTokens), sample: int64(e.first + i), choice: int64(i), finish: e.reply.answers[i].FinishReason}
	}
	if err := s.send(e); err != nil {
		return err
	}
	return s.wait(e)
}

// send puts an exchange into the queue. Exchanges get into the store in the order in which they are sent.
func (s *Store) send(e *exchange) error {
	e.ready = make(chan struct{})
	return s.submit(job{exchange: e})
}

func (s *Store) wait(e *exchange) error {
	<-e.ready
	if e.err != nil {
		return s.explain("write to", e.err)
	}
	return nil
}

func (s *Store) submit(j job) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errors.New("the response store is closed")
	}
	s.queue <- j
	return nil
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
	if err := errors.Join(s.hot.Close(), s.db.Close()); err != nil {
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
