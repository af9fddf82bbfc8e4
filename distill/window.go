package distill

import (
	"math"
	"time"
)

const (
	firstWindow   = 16                    // requests at a time that a lane begins with
	windowDoubles = 40 * time.Millisecond // while it opens
	cutRefused    = 0.7                   // what is left of a window after a refusal
	cutTrouble    = 0.5                   // and after timeouts and the like
	resumeShare   = 0.9                   // up to this share of the window that was refused, a cut window grows fast again
	troubled      = 0.1                   // the share of failures above which they are taken for overload
	failingMemory = 1 / 20.               // the weight of one outcome in that share
)

// A window is how many requests a lane may have in flight at a time. It is found by additive increase and
// multiplicative decrease, as TCP does (Chiu and Jain, 1989).
//
// It begins with firstWindow, opens by one with every answer, and doubles every windowDoubles, so that also an endpoint
// that takes long to answer gets its whole load within a fifth of a second. The first sign of overload ends that: the
// window is cut, grows by one an answer up to nine tenths of where it was, and from there by one for a whole window of
// answers. A window grows only while it is what holds requests back.
//
// Refusals (429) cut at once. Failures that may have other reasons than load (503, 5xx, timeouts, resets) cut once they
// are a tenth of what comes back. Requests that were sent before a cut do not cut again: they say nothing of the new size.
type window struct {
	size, most float64
	opening    bool
	began      time.Time // of the opening; zero before the first request
	resume     float64
	cutAt      time.Time
	grownAt    time.Time     // when it last grew slowly
	slow       time.Duration // how long growing by one takes then at least
	failing    float64       // the share of failures among the last outcomes
}

func newWindow(most int) window {
	return window{size: min(firstWindow, float64(most)), most: float64(most), opening: true}
}

// limit is how many requests may be in flight now.
func (w *window) limit(now time.Time) int {
	size := w.size
	if w.opening && !w.began.IsZero() {
		size *= math.Exp2(min(20, float64(now.Sub(w.began))/float64(windowDoubles)))
	}
	return int(min(size, w.most))
}

// opens is when there will be room for one request more by the passing of time alone; zero for never.
func (w *window) opens(now time.Time) time.Time {
	if !w.opening || w.limit(now) >= int(w.most) {
		return time.Time{}
	}
	return now.Add(2 * time.Millisecond)
}

// answered is told of every answer, and whether the window was full when it came.
func (w *window) answered(now time.Time, full bool) {
	w.failing -= w.failing * failingMemory
	if !full {
		return
	}
	step := 1.0
	if !w.opening && w.size >= w.resume {
		step = 1 / w.size
		if passed := now.Sub(w.grownAt); w.slow > 0 {
			step = min(step, float64(passed)/float64(w.slow))
		}
		w.grownAt = now
	}
	w.size = min(w.size+step, w.most)
}

// reopen lets the window open again as it did at first, since something else is what bounds the lane.
func (w *window) reopen(now time.Time) {
	if !w.opening {
		w.opening, w.began = true, now
	}
}

// under cuts the window to somewhat less than a limit that is known.
func (w *window) under(now time.Time, limit int) {
	w.resume = resumeShare * float64(limit)
	w.size = max(1, w.resume)
	w.opening = false
	w.cutAt, w.grownAt = now, now
}

// refused is told of a request that was refused for reasons of rate.
func (w *window) refused(now, sent time.Time, inFlight int) { w.cut(now, sent, inFlight, cutRefused) }

// failed is told of a failure that may be one of overload.
func (w *window) failed(now, sent time.Time, inFlight int) {
	w.failing += (1 - w.failing) * failingMemory
	if w.failing >= troubled {
		w.cut(now, sent, inFlight, cutTrouble)
	}
}

func (w *window) cut(now, sent time.Time, inFlight int, left float64) {
	if sent.Before(w.cutAt) {
		return
	}
	size := float64(min(w.limit(now), max(1, inFlight)))
	w.resume = resumeShare * size
	w.size = max(1, left*size)
	w.opening = false
	w.cutAt, w.grownAt = now, now
}
