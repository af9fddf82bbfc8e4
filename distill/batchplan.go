package distill

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"stillhouse"
	"stillhouse/distill/batchapi"
	"stillhouse/internal/rowfile"
)

// queries visits the queries of a run, each time the same in the same order, and in their place the accounts of shards that
// are there already.
type queries func(ctx context.Context, visit func(*query) error, made func(stillhouse.Account) error) error

// A batchLine is one line of a file of requests.
type batchLine struct {
	CustomID string  `json:"custom_id"`
	Method   string  `json:"method"`
	URL      string  `json:"url"`
	Body     rawJSON `json:"body"`
}

// rawJSON is written as it is.
type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

func (r batchRequest) encode() ([]byte, error) {
	b, err := rowfile.Encode(batchLine{CustomID: customID(r.line), Method: "POST", URL: "/v1/chat/completions", Body: r.body})
	return append(b, '\n'), err
}

// customID is the name of a request within its batch.
func customID(line int) string { return fmt.Sprintf("request-%d", line) }

// lineOf reads a custom id.
func lineOf(id string) (line int, ok bool) {
	_, err := fmt.Sscanf(id, "request-%d", &line)
	return line, err == nil && customID(line) == id
}

// newToken names a batch. It is drawn, since the same requests may be asked again after a batch of them was lost.
func newToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return "stillhouse-" + hex.EncodeToString(b[:])
}

// missing visits what the store lacks of the queries and no batch has on its way, query by query up to the end of the wave:
// samples that have not failed. wait gathers the batches that have the rest on their way.
func (b *batcher) missing(ctx context.Context, all queries, wait map[int64]bool, visit func(q *query, samples []int) error) (*wave, error) {
	const some = 4096 // keys looked up together
	enough := errors.New("the wave has all its prompts")
	w := b.wave()
	var part []*query
	n := 0
	look := func() error {
		var keys []Key
		for _, q := range part {
			keys = append(keys, q.keys...)
		}
		if len(keys) == 0 {
			return nil
		}
		limit := part[0].maxTokens
		found, err := b.a.store.Get(ctx, keys, limit)
		if err != nil {
			return err
		}
		pending, err := b.a.store.pending(ctx, keys, limit)
		if err != nil {
			return err
		}
		for _, q := range part {
			if w.ends() {
				return enough
			}
			r, err := b.round(ctx, q, found, pending, wait)
			if err != nil {
				return err
			}
			if r.open {
				w.open++
			} else {
				w.decide(r.accepted)
			}
			if len(r.left) > 0 {
				if err := visit(q, r.left); err != nil {
					return err
				}
			}
		}
		part, n = part[:0], 0
		return nil
	}
	err := all(ctx, func(q *query) error {
		part = append(part, q)
		if n += len(q.keys); n < some {
			return nil
		}
		return look()
	}, func(a stillhouse.Account) error {
		err := look()
		w.made(a, b.a.opts.Samples.Max)
		return err
	})
	if err == nil {
		err = look()
	}
	if errors.Is(err, enough) {
		err = nil
	}
	return w, err
}

// A batchRound is how far a query is.
type batchRound struct {
	left     []int // samples to be asked for
	open     bool  // some are, or are on their way
	accepted int   // of the rounds before
}

// round finds the samples of a query that are to be asked for next: those of the first round, as the asker makes them, that
// has neither all its answers nor only failures. Where a batch has others of that round on its way, it is added to wait.
func (b *batcher) round(ctx context.Context, q *query, found map[Key]Answer, pending map[Key]int64, wait map[int64]bool) (r batchRound, err error) {
	for asked := 0; asked < len(q.keys); {
		n := b.a.opts.Samples.next(asked, r.accepted)
		if n == 0 {
			return r, nil
		}
		var candidates []stillhouse.Candidate
		for i := asked; i < asked+n; i++ {
			k := q.keys[i]
			answer, ok := found[k]
			batch, onItsWay := pending[k]
			switch {
			case ok:
				candidates = append(candidates, b.a.opts.candidate(q, i, answer))
			case b.failure(k) != nil:
			case onItsWay:
				wait[batch], r.open = true, true
			default:
				r.left, r.open = append(r.left, i), true
			}
		}
		if r.open || len(candidates) == 0 {
			return r, nil
		}
		asked += n
		if asked < len(q.keys) || b.a.opts.Target.Accepted > 0 {
			good, err := b.a.accept.Accept(ctx, candidates)
			if err != nil {
				return r, err
			}
			r.accepted += good
		}
	}
	return r, nil
}

// A plan gathers requests into batches.
type plan struct {
	b    *batcher
	wait map[int64]bool
	keys map[Key]bool // planned in this batch, and those before it

	id     int64 // of the batch in planning, 0 for none
	lines  int
	bytes  int
	held   []batchRequest
	placed int      // requests in all
	broke  int      // those that the budget has no room for
	failed int      // those that cannot be sent
	on     Counters // what the requests on their way are expected to cost
}

// plan writes down the requests for what is missing, as far as the budget goes. The caller holds the lock of batches. It
// adds to wait the batches to wait for.
func (b *batcher) plan(ctx context.Context, all queries, wait map[int64]bool) (*plan, error) {
	p := &plan{b: b, wait: wait, keys: map[Key]bool{}}
	if err := b.a.store.discardPlanning(ctx); err != nil {
		return p, err
	}
	if b.a.opts.Budget != (Budget{}) { // what is on its way already is paid for as well
		if _, err := b.missing(ctx, all, wait, func(*query, []int) error { return nil }); err != nil {
			return p, err
		}
		for id := range wait {
			err := b.a.store.requestsOf(ctx, id, func(r batchRequest) error {
				p.afford(len(r.body), len(r.keys), r.maxTokens, true)
				return nil
			})
			if err != nil {
				return p, err
			}
		}
	}
	w, err := b.missing(ctx, all, wait, func(q *query, samples []int) error { return p.add(ctx, q, samples) })
	if err == nil {
		err = p.finish(ctx)
	}
	if w.target > 0 && p.placed > 0 {
		b.say("%d of %d rows are accepted, of %d prompts: asking for %d more", w.accepted, w.target, w.decided, w.open)
	}
	return p, err
}

// afford says whether the budget has room for one more request, by what it is expected to cost, and sets that aside if it
// has. It always has where the request is on its way already.
func (p *plan) afford(bytes, n, limit int, sent bool) bool {
	o := &p.b.a.opts
	if o.Budget == (Budget{}) {
		return true
	}
	purse := p.b.a.purse
	purse.mu.Lock()
	h := purse.expect(bytes, n, limit)
	purse.mu.Unlock()
	all := p.b.a.tally.sums()
	spent := o.Budget.Spent(all, o.Prices)
	all.add(p.on)
	all.add(h.Counters)
	if !sent && (spent || p.on.Requests > 0 && !o.Budget.allows(all, o.Prices, true)) {
		return false
	}
	p.on.add(h.Counters)
	return true
}

// add plans the requests for some samples of a query: as the stage does without batches, with n where it may be honoured.
func (p *plan) add(ctx context.Context, q *query, samples []int) error {
	for len(samples) > 0 {
		n := 1
		if p.b.a.many.Load() != ignoresN {
			n = len(samples)
		}
		asked := q.neighbours(samples, n)
		samples = samples[len(asked):]
		if p.keys[q.keys[asked[0]]] { // an equal prompt is there already
			continue
		}
		body, err := q.body(asked[0], len(asked))
		if err != nil {
			p.failed++
			p.b.fail(q.keys[asked[0]], &failure{scope: rowOnly, kind: "request", wait: -1, message: "the request cannot be written as JSON: " + err.Error()})
			continue
		}
		r := batchRequest{first: asked[0], maxTokens: q.maxTokens, body: body}
		for _, s := range asked {
			r.keys = append(r.keys, q.keys[s])
			p.keys[q.keys[s]] = true
		}
		if err := p.put(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// put places a request into the batch in planning, or into a new one when that is full.
func (p *plan) put(ctx context.Context, r batchRequest) error {
	o := &p.b.o
	size := len(r.body) + len(`{"custom_id":"request-","method":"POST","url":"/v1/chat/completions","body":}`) + 12
	most := o.MaxMegabytes * 1_000_000
	if size > most {
		p.failed++
		for _, k := range r.keys {
			p.b.fail(k, &failure{scope: rowOnly, kind: "long", wait: -1, message: fmt.Sprintf("the request has %d bytes, and a batch's file may have %d MB (distill.batch.max_megabytes)", size, o.MaxMegabytes)})
		}
		return nil
	}
	if !p.afford(len(r.body), len(r.keys), r.maxTokens, false) {
		p.broke++
		return nil
	}
	if p.id != 0 && (p.lines == o.MaxRequests || p.bytes+size > most) {
		if err := p.finish(ctx); err != nil {
			return err
		}
	}
	if p.id == 0 {
		id, err := p.b.a.store.beginBatch(ctx, newToken(), p.b.a.opts.Endpoint, p.b.a.clock.Now().UnixMilli())
		if err != nil {
			return err
		}
		p.id, p.lines, p.bytes = id, 0, 0
	}
	p.lines++
	p.bytes += size
	p.placed++
	r.line = p.lines
	p.held = append(p.held, r)
	const some = 500 // in one transaction
	if len(p.held) < some {
		return nil
	}
	return p.flush(ctx)
}

func (p *plan) flush(ctx context.Context) error {
	if len(p.held) == 0 {
		return nil
	}
	err := p.b.a.store.addRequests(ctx, p.id, p.held)
	p.held = p.held[:0]
	return err
}

// finish ends the planning of a batch: from here on it is waited for, and never planned again.
func (p *plan) finish(ctx context.Context) error {
	if p.id == 0 {
		return nil
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	if err := p.b.a.store.setBatch(ctx, batchRow{id: p.id, state: batchPlanned}); err != nil {
		return err
	}
	p.wait[p.id] = true
	p.id = 0
	return nil
}

// ended says that nothing more comes of a batch.
func ended(b batchapi.Batch) bool { return batchapi.Ended(b) }
