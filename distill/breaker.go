package distill

import "time"

const (
	breakFailures = 10 // failures in a row
	breakQueries  = 5  // of so many prompts: one that the endpoint cannot bear is no outage
	breakRefusals = 3  // times that the lane was held after a refusal, without an answer between them
)

// A breaker ends the sending of requests into an outage: after breakFailures failures in a row, or breakRefusals
// refusals each of which came after the wait for the one before, it opens. Then nothing is sent but one probe at a
// time, after waits that grow to a minute with full jitter, until a probe is answered. What fails while it is open does
// not count as a try of its request: an outage is not a row's fault. How long it may last is for give_up_after to say.
//
// Before the first answer only refusals open it: an endpoint that never answered anything but errors is more likely
// the wrong one, and the run ends sooner by its first prompts that all fail alike.
type breaker struct {
	answered bool         // in this run
	count    int          // failures since the last answer
	queries  map[Key]bool // whose they are
	open     bool
	probing  bool      // a probe is on its way
	tries    int       // probes that failed
	at       time.Time // when the next probe is due
}

// answer is told of an answer, or of a refusal of one row that shows that the endpoint is well.
func (b *breaker) answer() { *b = breaker{answered: true} }

// failure is told of a failed request, and by how many holds there were since the last answer whether it is of an
// endpoint that keeps refusing. wait says for the number of failed probes after how long the next one makes sense.
func (b *breaker) failure(now time.Time, query Key, holds int, wait func(try int) time.Duration) {
	if b.queries == nil {
		b.queries = make(map[Key]bool)
	}
	b.queries[query] = true
	if holds == 0 {
		b.count++
	}
	switch {
	case b.open && b.probing:
		b.tries++
	case b.open: // it was on its way when the breaker opened
		return
	case len(b.queries) >= breakQueries && (b.answered && b.count >= breakFailures || holds >= breakRefusals):
		b.open = true
	default:
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
