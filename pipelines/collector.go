package pipelines

import (
	"runtime"
	"runtime/debug"
	"sync"
)

const (
	startPercent   = 400
	distillPercent = 60
)

// A collector says how much garbage Go's collector lets lie in a run.
//
// At the start little is live, and Go collects with every 4 MB: a dozen times before the first request, which took a sixth
// of the time until then. So the first collection waits for 16 MB, and what is live is looked at from then on.
type collector struct {
	mu     sync.Mutex
	before int  // the percent of what is live that the process began with
	first  bool // the first collection is still to come
}

func startCollector() *collector {
	c := &collector{first: true}
	c.before = debug.SetGCPercent(startPercent)
	runtime.AddCleanup(new([16]byte), func(c *collector) { c.end() }, c) // of the first collection
	return c
}

// end is told of the end of the first collection.
func (c *collector) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first {
		c.first = false
		debug.SetGCPercent(c.before)
	}
}

// set lets so much garbage lie, in percent of what is live.
func (c *collector) set(percent int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = false
	debug.SetGCPercent(percent)
}

// restore lets as much lie as before the run.
func (c *collector) restore() { c.set(c.before) }
