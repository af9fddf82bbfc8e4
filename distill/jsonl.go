package distill

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// maxLine is the longest line of JSONL that is read.
const maxLine = 32 << 20

// jsonl reads one JSON object a line. Lines of white space are passed over; they count as lines.
type jsonl struct {
	io.Closer
	r     *bufio.Reader
	line  int
	names []string // of all columns so far, in the order in which they were seen
	known map[string]bool
}

func newJSONL(f io.ReadCloser) *jsonl {
	return &jsonl{Closer: f, r: bufio.NewReaderSize(f, 1<<16), known: map[string]bool{}}
}

func (j *jsonl) place() string { return fmt.Sprintf("line %d", j.line) }

func (j *jsonl) columns() []string { return j.names }

func (j *jsonl) next() (row, error) {
	for {
		line, err := j.readLine()
		if err != nil {
			return nil, err
		}
		if j.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return nil, badf("the line is not valid UTF-8")
		}
		var values row
		if err := decodeJSON(line, &values); err != nil {
			return nil, badf("the line is not a JSON object: %w", err)
		}
		if values == nil {
			return nil, badf("the line is not a JSON object: it is null")
		}
		var fresh []string
		for name := range values {
			if !j.known[name] {
				j.known[name] = true
				fresh = append(fresh, name)
			}
		}
		slices.Sort(fresh)
		j.names = append(j.names, fresh...)
		return values, nil
	}
}

// readLine returns the next line without its end. It reads no more of a line than maxLine.
func (j *jsonl) readLine() (line []byte, err error) {
	j.line++
	for {
		part, err := j.r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("line %d is longer than %d MiB", j.line, maxLine>>20)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		default:
			return nil, err
		}
	}
}

// decodeJSON reads exactly one value and keeps numbers as they are written.
func decodeJSON(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := d.Decode(to)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it breaks off")
	}
	if err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the value")
	}
	return nil
}
