package distill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/distill/batchapi"
)

// poll looks at a batch at the endpoint and, when it has ended, brings its answers in. full is told of one that the endpoint
// had no room for.
func (b *batcher) poll(ctx context.Context, row batchRow) (done, full bool, err error) {
	var at batchapi.Batch
	gone := false
	err = b.call(ctx, "look at batch "+row.batch, func(ctx context.Context) (err error) {
		at, err = b.api.Get(ctx, row.batch)
		if gone = notOffered(err); gone {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return false, false, err
	case gone:
		return false, false, stillhouse.Invalidf("the endpoint %s does not know batch %s, which this store waits for with %d requests: run with the key and the project that it was made with (at %s); if it is gone for good, write distill.batch.forget: [%s]",
			b.a.opts.Endpoint, row.batch, row.requests, row.endpoint, row.batch)
	case !ended(at):
		b.say("batch %s is %s: %d of %d done", row.batch, at.Status, at.RequestCounts.Completed+at.RequestCounts.Failed, row.requests)
		return false, false, b.stop("poll")
	}
	err = b.locked(ctx, func() error {
		if now, err := b.a.store.batch(ctx, row.id); err != nil || now.state == batchClosed || now.batch != row.batch {
			return err // another process was faster
		}
		if at.Status == batchapi.Failed {
			full, err = b.refused(ctx, row, at)
			return err
		}
		return b.fetch(ctx, row, at)
	})
	return err == nil && !full, full, err
}

// refused is for a batch that the endpoint did not begin with.
func (b *batcher) refused(ctx context.Context, row batchRow, at batchapi.Batch) (full bool, err error) {
	code, said := "", "it does not say why"
	if at.Errors != nil && len(at.Errors.Data) > 0 {
		first := at.Errors.Data[0]
		code, said = first.Code, brief(first.Message)
		if first.Line != nil {
			said = fmt.Sprintf("line %d: %s", *first.Line, said)
		}
	}
	if noRoom(code) { // the file stays where it is
		b.say("batch %s has to wait: %s", row.batch, said)
		b.a.tally.retry(code)
		row.state, row.batch = batchUploaded, ""
		return true, b.a.store.setBatch(ctx, row)
	}
	if err := b.a.store.closeBatch(ctx, row.id, at.Status); err != nil {
		return false, err
	}
	if code != "" {
		said = code + ": " + said
	}
	return false, stillhouse.Invalidf("the endpoint %s did not begin with batch %s of %d requests: %s; nothing of it was answered, run again when that is mended", b.a.opts.Endpoint, row.batch, row.requests, said)
}

// A batchAnswer is one line of what a batch brought.
type batchAnswer struct {
	CustomID string `json:"custom_id"`
	Response *struct {
		Status int             `json:"status_code"`
		ID     string          `json:"request_id"`
		Body   json.RawMessage `json:"body"`
	} `json:"response"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// fetch puts what a batch brought into the store, and then closes it. Each answer counts from when it is stored: a process
// that is killed meanwhile reads the files again and stores the rest.
func (b *batcher) fetch(ctx context.Context, row batchRow, at batchapi.Batch) error {
	f := &fetched{b: b, row: row, seen: map[int]bool{}}
	for i, file := range []*string{at.OutputFileID, at.ErrorFileID} {
		if file == nil || *file == "" {
			continue
		}
		promised := 0 // lines
		if i == 0 {
			promised = at.RequestCounts.Completed
		}
		if err := f.file(ctx, *file, promised); err != nil {
			return err
		}
	}
	if err := f.rest(ctx, at.Status); err != nil {
		return err
	}
	if err := b.stop("fetch"); err != nil {
		return err
	}
	if err := b.a.store.closeBatch(ctx, row.id, at.Status); err != nil {
		return err
	}
	b.say("batch %s is %s: %d of %d requests answered", row.batch, at.Status, f.answered, row.requests)
	switch {
	case f.ends != nil:
		return stillhouse.Invalidf("batch %s: %s", row.batch, f.ends.message)
	case at.Status == batchapi.Cancelled && f.unanswered > 0:
		return stillhouse.Transientf("batch %s was cancelled at the endpoint: %d of its %d requests were answered and are kept, run again to ask for the others", row.batch, f.answered, row.requests)
	}
	return nil
}

// fetched is what came of a batch so far.
type fetched struct {
	b   *batcher
	row batchRow

	mu         sync.Mutex
	seen       map[int]bool // lines that came
	answered   int
	unanswered int
	ends       *failure // one that no request will get past
	several    []refusedN
}

// A refusedN is a request for several samples that was refused: perhaps for that.
type refusedN struct {
	request batchRequest
	failed  *failure
}

// file takes the lines of a file. What is no line of answers, or has fewer of them than were promised, is got again: to go on
// without them would mean to ask for them a second time.
func (f *fetched) file(ctx context.Context, id string, promised int) error {
	return f.b.call(ctx, "get the answers of batch "+f.row.batch, func(ctx context.Context) error {
		g, storing := errgroup.WithContext(ctx)
		g.SetLimit(64) // their commits are shared
		lines := map[int]bool{}
		err := f.b.api.Lines(ctx, id, func(raw []byte) error {
			var got batchAnswer
			if err := json.Unmarshal(raw, &got); err != nil {
				return &batchapi.Error{Status: 200, Err: fmt.Errorf("a line of file %s is not JSON", id)}
			}
			line, ok := lineOf(got.CustomID)
			if !ok || line < 1 || line > f.row.requests {
				return &batchapi.Error{Status: 200, Err: fmt.Errorf("file %s has an answer to %q, which was not asked", id, brief(got.CustomID))}
			}
			if err := storing.Err(); err != nil {
				return err
			}
			lines[line] = true
			g.Go(func() error { return f.take(storing, line, got) })
			return nil
		})
		if err := errors.Join(g.Wait(), err); err != nil {
			return err
		}
		if len(lines) < promised {
			return &batchapi.Error{Status: 200, Err: fmt.Errorf("file %s has %d answers, not %d", id, len(lines), promised)}
		}
		return nil
	})
}

// take stores one answer, or notes one failure.
func (f *fetched) take(ctx context.Context, line int, got batchAnswer) error {
	r, ok, err := f.b.a.store.requestOf(ctx, f.row.id, line)
	if err != nil || !ok {
		return err
	}
	f.mu.Lock()
	twice := f.seen[line]
	f.seen[line] = true
	f.mu.Unlock()
	if twice {
		return nil
	}
	have, err := f.b.a.store.Get(ctx, r.keys, r.maxTokens)
	if err != nil {
		return err
	}
	if _, ok := have[r.keys[0]]; ok { // stored before the process was killed, or asked for in another way meanwhile
		f.note(1, 0, nil)
		return nil
	}
	t, reply, failed := f.read(got, r)
	if failed != nil {
		f.lost(r, failed)
		return nil
	}
	return f.keep(t, reply, r)
}

func (f *fetched) note(answered, unanswered int, ends *failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered += answered
	f.unanswered += unanswered
	if f.ends == nil {
		f.ends = ends
	}
}

// read makes of a line what a request by itself would have brought.
func (f *fetched) read(got batchAnswer, r batchRequest) (*trip, reply, *failure) {
	from := f.b.from
	t := &trip{request: r.body}
	switch {
	case got.Error != nil && got.Error.Code != "":
		return t, reply{}, &failure{scope: again, kind: got.Error.Code, code: got.Error.Code, wait: -1, message: fmt.Sprintf("batch %s: %s", f.row.batch, brief(got.Error.Message))}
	case got.Response == nil:
		return t, reply{}, f.missing()
	}
	t.status, t.body = got.Response.Status, got.Response.Body
	t.header = map[string][]string{"X-Request-Id": {got.Response.ID}}
	t.scrub(from.key)
	if t.status < 200 || t.status > 299 {
		return t, reply{}, from.statusFailure(t)
	}
	answer, err := parseReply(t.body)
	if err != nil {
		return t, reply{}, from.bodyFailure(t, err)
	}
	return t, answer, nil
}

func (f *fetched) missing() *failure {
	return &failure{scope: again, kind: "batch_missing", wait: -1, message: fmt.Sprintf("batch %s ended without an answer to it", f.row.batch)}
}

// lost notes that the samples of a request have no answer.
func (f *fetched) lost(r batchRequest, failed *failure) {
	failed.n = len(r.keys)
	a := f.b.a
	a.tally.add(func(c *Counters) { c.Requests++ })
	if failed.n > 1 && (failed.status == 400 || failed.status == 422) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.several = append(f.several, refusedN{r, failed})
		f.unanswered++
		return
	}
	switch failed.scope {
	case runEnds:
		f.note(0, 1, failed)
	case rowOnly:
		for _, k := range r.keys {
			f.b.fail(k, failed)
		}
		f.note(0, 1, nil)
	default:
		for _, k := range r.keys {
			f.b.again(k, failed)
		}
		f.note(0, 1, nil)
	}
}

// keep stores an answer under the keys that the request by itself would have had.
func (f *fetched) keep(t *trip, r reply, of batchRequest) error {
	a := f.b.a
	a.patience.good()
	a.learn(len(of.keys), r.choices)
	n := min(len(of.keys), len(r.answers))
	r.answers = r.answers[:n]
	e := &exchange{teacher: a.opts.teacher(), model: a.opts.Model, keys: of.keys[:n], first: of.first, maxTokens: of.maxTokens, reply: r, request: pack(t.request),
		header: pack(t.headerJSON()), body: pack(t.body), at: a.clock.Now()}
	if err := a.store.put(e); err != nil {
		return err
	}
	cost := paid(&r, t.request, n)
	cost.Requests = 1
	if err := a.purse.pay(&hold{bytes: len(t.request), free: a.opts.Budget == (Budget{})}, cost); err != nil {
		return err
	}
	f.b.bring(e.keys)
	f.note(1, 0, nil)
	return f.b.stop("store")
}

// rest notes the requests that an ended batch has no line for.
func (f *fetched) rest(ctx context.Context, status string) error {
	err := f.b.a.store.requestsOf(ctx, f.row.id, func(r batchRequest) error {
		if f.seen[r.line] {
			return nil
		}
		if status == batchapi.Cancelled {
			f.note(0, 1, nil)
			return nil
		}
		f.lost(r, f.missing())
		return nil
	})
	if len(f.several) > 0 {
		f.b.a.many.CompareAndSwap(unknownN, ignoresN) // unless others showed that n is honoured, the next batch asks one by one
	}
	for _, refused := range f.several {
		if f.b.a.many.Load() == honoursN {
			for _, k := range refused.request.keys {
				f.b.fail(k, refused.failed)
			}
		}
	}
	return err
}
