// Package batchapi speaks to the endpoints of OpenAI's Batch API: files and batches. It sends each request once; what to do
// about an error is for its caller.
//
// go-openai v1.43.0 makes and reads batches and gets files. It does not suffice to upload one, since it holds the form in
// memory twice, and a batch's file may have 200 MB.
package batchapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"
)

// A Batch is a batch as the endpoint tells it.
type Batch = openai.Batch

// The statuses of a batch that will not change any more. All others, also those not known here, are of one at work.
const (
	Completed = "completed"
	Failed    = "failed" // its file was not valid, or there was no room for it
	Expired   = "expired"
	Cancelled = "cancelled"
)

// Ended reports whether a batch will not change any more.
func Ended(b Batch) bool {
	switch b.Status {
	case Completed, Failed, Expired, Cancelled:
		return true
	}
	return false
}

// TokenKey is the key of a batch's metadata that holds its token.
const TokenKey = "stillhouse"

// An Error is a request that did not bring what it should.
type Error struct {
	Status int // 0 where no response came
	Header http.Header
	Body   []byte // of a response that is an error, its beginning
	Err    error
}

func (e *Error) Error() string {
	if e.Status >= 300 {
		return fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// A Client is for one endpoint and key. It may be used by several goroutines.
type Client struct {
	api  *openai.Client
	http *http.Client
	base string
	key  string
}

// New makes a client. The base URL is the one of /chat/completions.
func New(baseURL, key string, transport http.RoundTripper) *Client {
	c := &Client{base: strings.TrimRight(baseURL, "/"), key: key}
	c.http = &http.Client{Transport: observer{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	config := openai.DefaultConfig(key)
	config.BaseURL, config.HTTPClient = c.base, c.http
	c.api = openai.NewClientWithConfig(config)
	return c
}

type seenKey struct{}

// An observer is the transport under go-openai, whose errors hold neither headers nor bodies.
type observer struct{ base http.RoundTripper }

const maxErrorBody = 1 << 20

func (o observer) RoundTrip(r *http.Request) (*http.Response, error) {
	seen, ok := r.Context().Value(seenKey{}).(*Error)
	resp, err := o.base.RoundTrip(r)
	if !ok || err != nil {
		return resp, err
	}
	seen.Status, seen.Header = resp.StatusCode, resp.Header
	if resp.StatusCode >= 300 {
		seen.Body, _ = io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(seen.Body))
	}
	return resp, nil
}

// do runs one call and makes its error an [Error].
func do(ctx context.Context, call func(ctx context.Context) error) error {
	seen := &Error{}
	err := call(context.WithValue(ctx, seenKey{}, seen))
	switch {
	case err == nil && seen.Status < 300:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if seen.Err = err; err == nil {
		seen.Err = fmt.Errorf("the answer has the status %d", seen.Status)
	}
	return seen
}

// Upload sends a file of requests and returns its id. The file is read from where it stands; size is what is left of it.
func (c *Client) Upload(ctx context.Context, name string, file io.Reader, size int64) (id string, err error) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	if err := w.WriteField("purpose", string(openai.PurposeBatch)); err != nil {
		return "", err
	}
	if _, err := w.CreateFormFile("file", name); err != nil {
		return "", err
	}
	head := bytes.Clone(form.Bytes())
	if err := w.Close(); err != nil {
		return "", err
	}
	tail := form.Bytes()[len(head):]
	err = do(ctx, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/files", io.MultiReader(bytes.NewReader(head), file, bytes.NewReader(tail)))
		if err != nil {
			return err
		}
		r.ContentLength = int64(len(head)) + size + int64(len(tail))
		r.Header.Set("Content-Type", w.FormDataContentType())
		if c.key != "" {
			r.Header.Set("Authorization", "Bearer "+c.key)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var made openai.File
		if err := json.NewDecoder(resp.Body).Decode(&made); err != nil {
			return fmt.Errorf("the answer to the upload is no file: %w", err)
		}
		if id = made.ID; id == "" && resp.StatusCode < 300 {
			return errors.New("the answer to the upload names no file")
		}
		return nil
	})
	return id, err
}

// FindFile looks for a file of requests by its name; the id is empty where there is none.
func (c *Client) FindFile(ctx context.Context, name string, size int64) (id string, err error) {
	err = do(ctx, func(ctx context.Context) error {
		list, err := c.api.ListFiles(ctx)
		for _, f := range list.Files {
			if f.FileName == name && (f.Bytes == 0 || int64(f.Bytes) == size) && f.Status != "error" {
				id = f.ID
			}
		}
		return err
	})
	return id, err
}

// Create makes a batch of a file of chat completions.
func (c *Client) Create(ctx context.Context, fileID, token, window string) (b Batch, err error) {
	err = do(ctx, func(ctx context.Context) error {
		made, err := c.api.CreateBatch(ctx, openai.CreateBatchRequest{InputFileID: fileID, Endpoint: openai.BatchEndpointChatCompletions,
			CompletionWindow: window, Metadata: map[string]any{TokenKey: token}})
		b = made.Batch
		return named(b, err)
	})
	return b, err
}

func named(b Batch, err error) error {
	if err == nil && b.ID == "" {
		return errors.New("the answer names no batch")
	}
	return err
}

// Find looks for a batch by its token or its file, among those made since a time, the newest first, and those that failed
// left out: nothing comes of them.
func (c *Client) Find(ctx context.Context, token, fileID string, since time.Time) (b Batch, found bool, err error) {
	const page, pages = 100, 1000
	after := ""
	for range pages {
		var list openai.ListBatchResponse
		err := do(ctx, func(ctx context.Context) (err error) {
			limit := page
			var from *string
			if after != "" {
				from = &after
			}
			if list, err = c.api.ListBatch(ctx, from, &limit); err == nil && list.Data == nil {
				err = errors.New("the answer is no list of batches")
			}
			return err
		})
		if err != nil {
			return b, false, err
		}
		for _, b := range list.Data {
			if got, ok := b.Metadata[TokenKey].(string); b.Status != Failed && (ok && got == token || fileID != "" && b.InputFileID == fileID) {
				return b, true, nil
			}
		}
		if !list.HasMore || len(list.Data) == 0 {
			return b, false, nil
		}
		last := list.Data[len(list.Data)-1]
		if after = last.ID; time.Unix(int64(last.CreatedAt), 0).Before(since) {
			return b, false, nil
		}
	}
	return b, false, nil
}

// Get asks how a batch is.
func (c *Client) Get(ctx context.Context, id string) (b Batch, err error) {
	err = do(ctx, func(ctx context.Context) error {
		got, err := c.api.RetrieveBatch(ctx, id)
		b = got.Batch
		return named(b, err)
	})
	return b, err
}

// MaxLine is the longest line of a file of answers that is read.
const MaxLine = 64 << 20

// Lines visits the lines of a file. A connection that breaks is an error after some of them were visited. An error of visit
// comes back as it is.
func (c *Client) Lines(ctx context.Context, fileID string, visit func(line []byte) error) error {
	var stopped error
	err := do(ctx, func(ctx context.Context) error {
		content, err := c.api.GetFileContent(ctx, fileID)
		if err != nil {
			return err
		}
		defer content.Close()
		lines := bufio.NewScanner(content)
		lines.Buffer(make([]byte, 1<<16), MaxLine)
		for lines.Scan() {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			if stopped = visit(lines.Bytes()); stopped != nil {
				return stopped
			}
		}
		return lines.Err()
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
