package main

import (
	"bytes"
	"fmt"
	"os"

	"stillhouse/internal/bench"
)

// threads are those that all runs use.
const threads = 2

var environment = []string{fmt.Sprintf("GOMAXPROCS=%d", threads)}

// A watch reads the log of a training while it grows: first and last are the processor times, in seconds, at which its
// first line and its last one were seen.
type watch struct {
	log         string
	lines       int
	first, last float64
}

func (w *watch) look(pid int) {
	data, _ := os.ReadFile(w.log) // not there yet, or not any more
	n := bytes.Count(data, []byte("\n"))
	if n <= w.lines {
		return
	}
	now := bench.ProcessorTime(pid)
	if w.lines == 0 {
		w.first = now
	}
	w.lines, w.last = n, now
}
