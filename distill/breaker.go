package distill

import "time"

const (
	breakAfter   = 10 // failures in a row
	breakQueries = 5  // of so many prompts: one that the endpoint cannot bear is no outage
)

// A breaker ends the sending of requests into an outage: after breakAfter failures in a row it opens. Then nothing is
// sent but one probe at a time, after waits that grow to a minute with full jitter, until a probe is answered. What
// fails while it is open does not count as a try of its request: an outage is not a row's fault. How long it may last
// is for give_up_after to say.
//
// Before the first answer only refusals (429) open it: an endpoint that never answered anything but errors is more
// likely the wrong one, and the run ends sooner by its first prompts that all fail alike.
type breaker struct {
	answered bool         // in this run
	count    int          // failures since the last answer
	queries  map[Key]bool // whose they are
	open     bool
	probing  bool      // a probe is on its way
	tries    int       // probes that failed
	at       time.Time // when the next probe is due
}

// answer is told of an answer, or of a refusal that shows that the endpoint is well.
func (b *breaker) answer() { *b = breaker{answered: true} }

// failure is told of a failed request: after how long the next one makes sense is what wait says for the number of
// failed probes.
func (b *breaker) failure(now time.Time, query Key, rate bool, wait func(try int) time.Duration) {
	if b.queries == nil {
		b.queries = make(map[Key]bool)
	}
	b.count++
	b.queries[query] = true
	switch {
	case b.open && b.probing:
		b.tries++
	case !b.open && b.count >= breakAfter && len(b.queries) >= breakQueries && (rate || b.answered):
		b.open = true
	default: // a request that was on its way when the breaker opened, or it does not
		return
	}
	b.probing = false
	b.at = now.Add(wait(b.tries))
}

// closed reports whether nothing keeps requests back; at is when a probe is due, zero while one is on its way.
func (b *breaker) closed(now time.Time) (ok bool, at time.Time) {
	switch {
	case !b.open:
		return true, now
	case b.probing:
		return false, time.Time{}
	}
	return !now.Before(b.at), b.at
}

// send is told of a request that is sent.
func (b *breaker) send() { b.probing = b.open }
