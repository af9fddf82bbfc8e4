package rowfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
)

// newText finds out whether text is lines of JSON or one array of objects, packed by gzip or not.
func newText(f io.Reader) (reader, error) {
	r := bufio.NewReaderSize(f, 1<<16)
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("the gzip data is cut off or damaged: %w", err)
		}
		r = bufio.NewReaderSize(unzipped{z}, 1<<16)
	}
	if first(r) == '[' {
		return newJSONArray(r), nil
	}
	return newJSONL(r), nil
}

// first is the first byte that is neither white space nor of a byte order mark, 0 where there is none in the beginning.
func first(r *bufio.Reader) byte {
	head, _ := r.Peek(4096)
	for i, b := range head {
		switch {
		case b == ' ' || b == '\t' || b == '\r' || b == '\n' || i < 3 && b == "\xef\xbb\xbf"[i]:
		default:
			return b
		}
	}
	return 0
}

// unzipped says of what can't be read what it is.
type unzipped struct{ io.Reader }

func (u unzipped) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("the gzip data is cut off or damaged: %w", err)
	}
	return n, err
}

// jsonArray reads the objects of one array, one by one.
type jsonArray struct {
	seen
	in    *bounded // holds back what one item may not take
	items *json.Decoder
	item  int
	begun bool
}

func newJSONArray(r *bufio.Reader) *jsonArray {
	if mark, _ := r.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = r.Discard(3)
	}
	in := &bounded{r: r}
	return &jsonArray{seen: seen{known: map[string]bool{}}, in: in, items: json.NewDecoder(in)}
}

func (j *jsonArray) number() int  { return j.item }
func (j *jsonArray) word() string { return "item" }
func (j *jsonArray) close()       {}

func (j *jsonArray) next() (Row, error) {
	j.in.left = MaxLine
	if !j.begun {
		j.begun = true
		if _, err := j.items.Token(); err != nil { // the bracket
			return nil, j.broken(err)
		}
	}
	if !j.items.More() {
		if _, err := j.items.Token(); err != nil {
			return nil, j.broken(err)
		}
		if _, err := j.items.Token(); !errors.Is(err, io.EOF) {
			return nil, errors.New("there is more after the end of the JSON array: is it JSONL, one object a line?")
		}
		return nil, io.EOF
	}
	var text json.RawMessage
	if err := j.items.Decode(&text); err != nil {
		return nil, j.broken(err)
	}
	if len(text) > MaxLine { // of which a part came with the item before
		return nil, j.broken(errLong)
	}
	j.item++
	if !utf8.Valid(text) {
		return nil, BadRowf("the item is not valid UTF-8")
	}
	return j.object(text, "item")
}

// broken is an error after which no item can be read.
func (j *jsonArray) broken(err error) error {
	switch {
	case errors.Is(err, errLong):
		return fmt.Errorf("item %d is longer than %d MiB", j.item+1, MaxLine>>20)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the JSON array breaks off at item %d", j.item+1)
	}
	return fmt.Errorf("item %d of the JSON array cannot be read: %w", j.item+1, err)
}

var errLong = errors.New("too long")

// bounded reads no more than what is left, so that one item cannot take all memory.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
