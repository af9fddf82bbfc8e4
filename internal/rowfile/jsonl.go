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
	r     *bufio.Reader
	line  int
	names []string // of all columns so far, in the order in which they were seen
	known map[string]bool
}

func newJSONL(r io.Reader) *jsonl {
	return &jsonl{r: bufio.NewReaderSize(r, 1<<16), known: map[string]bool{}}
}

func (j *jsonl) number() int  { return j.line }
func (j *jsonl) word() string { return "line" }

func (j *jsonl) columns() ([]string, bool) { return j.names, false }

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
		var values Row
		if err := Decode(line, &values); err != nil {
			return nil, BadRowf("the line is not a JSON object: %w", err)
		}
		if values == nil {
			return nil, BadRowf("the line is not a JSON object: it is null")
		}
		j.see(values)
		return values, nil
	}
}

// see notes the columns that no row before had.
func (j *jsonl) see(values Row) {
	var fresh []string
	for name := range values {
		if !j.known[name] {
			j.known[name] = true
			fresh = append(fresh, name)
		}
	}
	slices.Sort(fresh)
	j.names = append(j.names, fresh...)
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
