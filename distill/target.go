package distill

import (
	"context"
	"sync"

	"stillhouse"
)

// A queue lets the prompts of all shards through in their order, until those let through have brought enough accepted
// rows. So a run with a target ends with the prompt that reaches it, however the answers came in, and asks nothing of the
// prompts after it.
//
// A prompt is let through when it is certain that those before it do not reach the target: when what is accepted so far,
// and all that the prompts still being asked can bring at most, is below it. Far from the target that is always so; near
// it fewer prompts are asked at a time.
type queue struct {
	target, most int // accepted rows wanted; those that one prompt can bring

	mu       sync.Mutex
	change   chan struct{} // closed at every change that somebody may wait for
	shards   map[int]*member
	head     int // the first shard that is not through yet
	open     int // prompts let through and not decided
	accepted int // rows that the others brought
}

// A member is one shard in the queue.
type member struct {
	rows    int64 // that come
	through int64 // that were let through, or turned away
	made    int   // accepted rows of a shard that is there already
}

func newQueue(target, most int) *queue {
	return &queue{target: target, most: max(1, most), shards: map[int]*member{}}
}

// shard says which rows will come of a shard: so many, or none of a shard that is made and has accepted rows already.
func (q *queue) shard(n int, rows int64, made *stillhouse.Account) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := &member{rows: rows}
	if made != nil {
		m.rows, m.made = 0, int(made.Accepted)
	}
	q.shards[n] = m
	q.advance()
}

// advance moves the head over the shards that are through.
func (q *queue) advance() {
	for {
		m, ok := q.shards[q.head]
		if !ok || m.through < m.rows {
			break
		}
		q.accepted += m.made
		delete(q.shards, q.head)
		q.head++
	}
	if q.change != nil {
		close(q.change)
		q.change = nil
	}
}

// enter waits for the turn of the next prompt of a shard, and says whether it is asked.
func (q *queue) enter(ctx context.Context, shard int) (asked bool, err error) {
	for {
		q.mu.Lock()
		if q.head >= shard { // later only for rows of which nobody was told
			reached := q.accepted >= q.target
			if reached || q.accepted+q.open*q.most < q.target {
				if !reached {
					q.open++
				}
				if m, ok := q.shards[shard]; ok {
					m.through++
				}
				q.advance()
				q.mu.Unlock()
				return !reached, nil
			}
		}
		if q.change == nil {
			q.change = make(chan struct{})
		}
		change := q.change
		q.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// decided is told of each prompt let through how many accepted rows it has.
func (q *queue) decided(accepted int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	q.accepted += min(accepted, q.most)
	q.advance()
}

// reached reports whether the target is.
func (q *queue) reached() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.accepted >= q.target
}
