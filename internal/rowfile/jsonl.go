package rowfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// MaxLine is the longest line of JSONL that is read, in bytes. It bounds the memory that one line can take.
const MaxLine = 64 << 20

// jsonl reads one JSON object a line. Lines of white space are passed over; they count as lines.
type jsonl struct {
	seen
	r    *bufio.Reader
	line int
}

func newJSONL(r io.Reader) *jsonl {
	return &jsonl{r: bufio.NewReaderSize(r, 1<<16), seen: seen{known: map[string]bool{}}}
}

func (j *jsonl) number() int  { return j.line }
func (j *jsonl) word() string { return "line" }

func (j *jsonl) close() {}

func (j *jsonl) next() (Row, error) {
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
			return nil, BadRowf("the line is not valid UTF-8")
		}
		return j.object(line, "line")
	}
}

// seen are the columns of all rows so far, in the order in which they were seen.
type seen struct {
	names []string
	known map[string]bool
}

func (s *seen) columns() ([]string, bool) { return s.names, false }

// object reads a row and notes the columns that no row before had. Errors call the row by its word.
func (s *seen) object(text []byte, word string) (values Row, err error) {
	if err := Decode(text, &values); err != nil {
		return nil, BadRowf("the %s is not a JSON object: %w", word, err)
	}
	if values == nil {
		return nil, BadRowf("the %s is not a JSON object: it is null", word)
	}
	var fresh []string
	for name := range values {
		if !s.known[name] {
			s.known[name] = true
			fresh = append(fresh, name)
		}
	}
	slices.Sort(fresh)
	s.names = append(s.names, fresh...)
	return values, nil
}

// readLine returns the next line without its end. It reads no more of a line than MaxLine.
func (j *jsonl) readLine() (line []byte, err error) {
	j.line++
	for {
		part, err := j.r.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return nil, fmt.Errorf("line %d is longer than %d MiB: is it JSONL, one object a line?", j.line, MaxLine>>20)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("line %d: %w: check the disk", j.line, err)
		}
	}
}
