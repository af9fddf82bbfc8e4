package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"stillhouse"
)

// A journal is stderr: what a command tells people. As JSON every line of it is one object with time, level and msg, and
// what programs may want to read has fields of its own: {"msg": "progress", "step": "distill", ...}.
type journal struct {
	mu      sync.Mutex
	out     io.Writer
	log     *slog.Logger // nil for text
	partial []byte       // the beginning of a line whose end has not come
}

// logFormats are the values of --log-format.
const (
	logText = "text"
	logJSON = "json"
)

// setFormat is called before anything is said.
func (j *journal) setFormat(format string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch format {
	case logText:
		j.log = nil
	case logJSON:
		j.log = slog.New(slog.NewJSONHandler(j.out, nil))
	default:
		return stillhouse.Invalidf("--log-format is %q: it can be %s or %s", format, logText, logJSON)
	}
	return nil
}

// structured is the logger of JSON, nil for text.
func (j *journal) structured() *slog.Logger {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log
}

// Write takes text for people. Lines become objects as they end.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.log == nil {
		return j.out.Write(p)
	}
	j.partial = append(j.partial, p...)
	for {
		line, rest, ended := bytes.Cut(j.partial, []byte{'\n'})
		if !ended {
			return len(p), nil
		}
		j.line(line)
		j.partial = append(j.partial[:0], rest...)
	}
}

func (j *journal) line(line []byte) {
	if text := strings.TrimSpace(strings.ToValidUTF8(string(line), "�")); text != "" {
		j.log.Info(text)
	}
}

// fail tells of an error.
func (j *journal) fail(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.log == nil {
		fmt.Fprintln(j.out, "stillhouse: "+text)
		return
	}
	j.log.Error(text)
}

// end writes a line that never ended.
func (j *journal) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.log != nil {
		j.line(j.partial)
		j.partial = nil
	}
}
