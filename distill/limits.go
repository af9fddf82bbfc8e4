package distill

import "time"

// A bucket refills at a rate, up to a second's worth. What is taken may leave it in debt, which is paid back before the
// next is let through: so a request for more than a second's worth gets through too, and the rate is kept.
type bucket struct {
	rate  float64 // a second; 0 does not bound
	level float64
	last  time.Time
}

func perMinute(n float64) bucket { return bucket{rate: n / 60, level: n / 60} }

func (b *bucket) refill(now time.Time) {
	if !b.last.IsZero() && now.After(b.last) {
		b.level = min(b.size(), b.level+now.Sub(b.last).Seconds()*b.rate)
	}
	if b.last.IsZero() || now.After(b.last) {
		b.last = now
	}
}

// size is what the bucket holds at most: at least one.
func (b *bucket) size() float64 { return max(1, b.rate) }

// ready is the earliest time at which n may be taken.
func (b *bucket) ready(now time.Time, n float64) time.Time {
	if b.rate == 0 {
		return time.Time{}
	}
	b.refill(now)
	missing := min(n, b.size()) - b.level
	if missing <= 1e-9 {
		return now
	}
	return now.Add(time.Duration(missing/b.rate*float64(time.Second)).Truncate(time.Microsecond) + time.Microsecond)
}

func (b *bucket) take(now time.Time, n float64) {
	if b.rate > 0 {
		b.refill(now)
		b.level = min(b.size(), b.level-n)
	}
}

// limits are the limits that a config names for a lane: requests and tokens a minute.
type limits struct {
	requests, tokens bucket
}

func newLimits(o LimitsOptions) limits {
	return limits{requests: perMinute(o.RequestsPerMinute), tokens: perMinute(o.TokensPerMinute)}
}

// ready is the earliest time for a request for so many tokens.
func (l *limits) ready(now time.Time, tokens float64) time.Time {
	a, b := l.requests.ready(now, 1), l.tokens.ready(now, tokens)
	if a.After(b) {
		return a
	}
	return b
}

func (l *limits) take(now time.Time, tokens float64) {
	l.requests.take(now, 1)
	l.tokens.take(now, tokens)
}

// settle corrects what was expected by what was used, and gives back requests that were not sent.
func (l *limits) settle(now time.Time, expected, used, requests float64) {
	l.tokens.take(now, used-expected)
	l.requests.take(now, -requests)
}

// A forecast says how many tokens a request will take, from what earlier ones took.
type forecast struct {
	perByte    float64 // tokens of a prompt for each byte of its request
	completion float64 // tokens of one answer
	seen       float64
}

// Of a teacher that nothing is known of.
const (
	tokensPerByte    = 0.25
	tokensOfAnAnswer = 512
	forecastMemory   = 100 // answers
)

// tokens is the forecast for a request of so many bytes for n answers of at most most tokens (0 for no limit).
func (f *forecast) tokens(bytes, n, most int) float64 {
	perByte, completion := tokensPerByte, float64(tokensOfAnAnswer)
	if most > 0 {
		completion = float64(most)
	}
	if f.seen > 0 {
		perByte, completion = f.perByte, f.completion
		if most > 0 {
			completion = min(completion, float64(most))
		}
	}
	return perByte*float64(bytes) + completion*float64(n)
}

// learn takes in what a request took.
func (f *forecast) learn(bytes, n int, prompt, completion int64) {
	if bytes == 0 || n == 0 || prompt+completion == 0 {
		return
	}
	f.seen = min(f.seen+1, forecastMemory)
	f.perByte += (float64(prompt)/float64(bytes) - f.perByte) / f.seen
	f.completion += (float64(completion)/float64(n) - f.completion) / f.seen
}
