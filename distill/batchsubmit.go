package distill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"stillhouse"
	"stillhouse/distill/batchapi"
)

// submit brings a batch to the endpoint, from whichever step it is at. The caller holds the lock of batches. Where the
// endpoint has no room for it, it stays where it is.
func (b *batcher) submit(ctx context.Context, id int64) (row batchRow, err error) {
	s := b.a.store
	if row, err = s.batch(ctx, id); err != nil {
		return row, err
	}
	if row.state == batchPlanned {
		if err := b.upload(ctx, &row); err != nil {
			return row, err
		}
	}
	if row.state == batchUploaded || row.state == batchCreating {
		return row, b.create(ctx, &row)
	}
	return row, nil
}

// upload sends the file of a batch, unless it is there from a process that was killed before it could note that.
func (b *batcher) upload(ctx context.Context, row *batchRow) error {
	file, size, err := b.write(ctx, row.id)
	if err != nil {
		return err
	}
	defer file.Close()
	name := row.token + ".jsonl"
	var there string
	err = b.call(ctx, "look for the file of a batch", func(ctx context.Context) (err error) {
		there, err = b.api.FindFile(ctx, name, size)
		if notOffered(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if row.file = there; row.file == "" {
		b.say("uploading %d requests, %.1f MB", row.requests, float64(size)/1e6)
		err = b.call(ctx, "upload the file of a batch", func(ctx context.Context) (err error) {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				return err
			}
			row.file, err = b.api.Upload(ctx, name, file, size)
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := b.stop("upload"); err != nil {
		return err
	}
	row.state = batchUploaded
	return b.a.store.setBatch(ctx, *row)
}

// write makes the file of a batch, in a temporary file that has no name any more.
func (b *batcher) write(ctx context.Context, id int64) (f *os.File, size int64, err error) {
	bad := func(err error) error {
		return stillhouse.Invalidf("write the file of a batch: %w: set TMPDIR to a folder with room for it", err)
	}
	if f, err = os.CreateTemp("", "stillhouse-batch-*"); err != nil {
		return nil, 0, bad(err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, bad(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = b.a.store.requestsOf(ctx, id, func(r batchRequest) error {
		line, err := r.encode()
		if err != nil {
			return err
		}
		size += int64(len(line))
		_, err = w.Write(line)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	if err := w.Flush(); err != nil {
		return nil, 0, bad(err)
	}
	return f, size, nil
}

// create makes a batch of the uploaded file. When it may have been made already, by a process that was killed or by a
// request whose answer was lost, it is looked for first.
func (b *batcher) create(ctx context.Context, row *batchRow) error {
	const doing = "make a batch"
	unsure := row.state == batchCreating
	var made batchapi.Batch
	for try := 0; made.ID == ""; {
		if unsure {
			found, err := b.find(ctx, row)
			if err != nil {
				return err
			}
			if found != nil {
				made = *found
				break
			}
		}
		if row.state = batchCreating; try == 0 {
			if err := b.a.store.setBatch(ctx, *row); err != nil {
				return err
			}
		}
		var err error
		if made, err = b.api.Create(ctx, row.file, row.token, b.o.Window); err == nil {
			break
		}
		f := b.failureOf(err, doing)
		if f == nil {
			return err
		}
		if noRoom(f.code) {
			row.state = batchUploaded
			return b.a.store.setBatch(ctx, *row)
		}
		unsure = f.scope != rowOnly && f.scope != runEnds // it may have been made all the same
		if err := b.wait(ctx, f, &try); err != nil {
			return err
		}
	}
	if err := b.stop("create"); err != nil {
		return err
	}
	row.state, row.batch = batchCreated, made.ID
	if err := b.a.store.setBatch(ctx, *row); err != nil {
		return err
	}
	b.say("batch %s: %d requests", row.batch, row.requests)
	return nil
}

// find looks for the batch of a row.
func (b *batcher) find(ctx context.Context, row *batchRow) (made *batchapi.Batch, err error) {
	since := time.UnixMilli(row.created).Add(-24 * time.Hour) // clocks differ
	err = b.call(ctx, "look for a batch", func(ctx context.Context) error {
		got, found, err := b.api.Find(ctx, row.token, row.file, since)
		if notOffered(err) {
			return stillhouse.Invalidf("the endpoint %s was asked to make a batch of %d requests, its answer did not come, and it does not list its batches: look at the provider's pages for a batch of the file %s. If there is none, write distill.batch.forget: [%s] and run again; if there is one, wait for it there first, since its answers would be paid for twice",
				b.a.opts.Endpoint, row.requests, row.file, row.token)
		}
		if err == nil && found {
			made = &got
		}
		return err
	})
	return made, err
}

// notOffered reports whether an endpoint has no such address.
func notOffered(err error) bool {
	var e *batchapi.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented)
}

// noRoom reports whether a code says that too much is waiting at the endpoint already.
func noRoom(code string) bool {
	switch code {
	case "token_limit_exceeded", "request_limit_exceeded", "batch_limit_exceeded", "enqueued_token_limit_exceeded":
		return true
	}
	return false
}

// call does something at the endpoint as often as it takes. Errors that are not of the endpoint come back as they are.
func (b *batcher) call(ctx context.Context, doing string, do func(ctx context.Context) error) error {
	for try := 0; ; {
		within, cancel := context.WithTimeout(ctx, b.a.opts.Timeout)
		err := do(within)
		late := within.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return nil
		}
		f := b.failureOf(err, doing)
		if late {
			f = &failure{scope: again, kind: "timeout", wait: -1, message: fmt.Sprintf("%s: the endpoint %s took more than %v (distill.timeout)", doing, b.a.opts.Endpoint, b.a.opts.Timeout)}
		}
		if f == nil {
			return err
		}
		if err := b.wait(ctx, f, &try); err != nil {
			return err
		}
	}
}

// wait is for what went wrong at the endpoint outside of any row: it waits for the next try, or says that there is none.
func (b *batcher) wait(ctx context.Context, f *failure, try *int) error {
	if f.scope == runEnds || f.scope == rowOnly {
		return stillhouse.Invalidf("%s", f.message)
	}
	pause := backoff(*try, b.a.draw)
	if *try++; f.wait > 0 {
		pause = f.wait
	}
	const patient = 12 // tries, which take some minutes; a batch can wait for that
	if *try > max(*b.a.opts.MaxRetries, patient) || pause > b.a.opts.GiveUpAfter {
		return stillhouse.Transientf("%s: every answer and every batch is kept, run again to go on", f.message)
	}
	b.a.tally.retry(f.kind)
	return b.a.clock.Sleep(ctx, pause)
}

// failureOf sorts an error of the Batch API; nil for those that are none.
func (b *batcher) failureOf(err error, doing string) *failure {
	var e *batchapi.Error
	if !errors.As(err, &e) {
		return nil
	}
	t := &trip{status: e.Status, header: e.Header, body: e.Body, err: e.Err}
	t.scrub(b.from.key)
	var f *failure
	switch {
	case e.Status == 0:
		f = b.from.networkFailure(t)
	case e.Status < 300: // cut, or no JSON
		f = &failure{scope: again, kind: "garbage", wait: -1, status: e.Status, message: fmt.Sprintf("the endpoint %s answered with something else than was asked for: %v", b.from.url, t.err)}
	case e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed:
		said := "nothing"
		if api := parseError(t.body); api != nil {
			said = brief(api.Message)
		}
		f = &failure{scope: runEnds, kind: "404", status: e.Status, wait: -1,
			message: fmt.Sprintf("the endpoint %s answered %d (%s): it may have no Batch API; write distill.mode: online then", b.from.url, e.Status, said)}
	default:
		f = b.from.statusFailure(t)
	}
	f.message = doing + ": " + f.message
	return f
}
