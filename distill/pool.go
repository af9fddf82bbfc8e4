package distill

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"stillhouse"
)

// A pool is the lanes of one model. Whoever wants to send waits for a pass; the next lane that has room takes whoever has
// waited longest, those that send again first. So the work is shared in proportion to what each lane takes.
type pool struct {
	clock  clock
	draw   func() float64
	giveUp time.Duration
	notify func(Wait) // of a wait that people should know of; may be nil
	most   int        // requests at a time, of all lanes

	mu       sync.Mutex
	lanes    []*lane
	forecast forecast
	again    []*ticket // first those that send again
	fresh    []*ticket
	timer    time.Time // when the lanes are looked at again without a cause; zero for never
	stop     func()    // stops the timer
	waiting  Wait      // what was last told; without Until for nothing
	end      error     // why no request is let through any more
}

// A ticket is a request that waits for a pass.
type ticket struct {
	key    Key
	tokens float64
	avoid  []*lane // the lanes that failed it, where others are well
	again  bool
	pass   *pass
	err    error
	ready  chan struct{} // closed when pass or err is there
	gone   bool
}

// A Wait is a time in which nothing can be sent: the endpoint asked for it, or is out of order.
type Wait struct {
	Endpoint string
	Why      string    // what the endpoint said
	Until    time.Time // when it is tried again; zero when the wait is over
}

// told is from when on a wait is worth telling.
const toldAfter = 3 * time.Second

func newPool(lanes []*lane, c clock, draw func() float64, giveUp time.Duration) *pool {
	p := &pool{lanes: lanes, clock: c, draw: draw, giveUp: giveUp}
	for _, l := range lanes {
		p.most += int(l.window.most)
	}
	return p
}

// newLanes makes the lanes that the options name; they must have their defaults.
func newLanes(o *Options) (lanes []*lane, err error) {
	for _, e := range o.lanes() {
		key, err := e.key()
		if err != nil {
			return nil, err
		}
		to := newEndpoint(&e, key, o.Timeout)
		to.renames = e.Model != o.Model
		lanes = append(lanes, &lane{endpoint: to, window: newWindow(e.Concurrency), limits: newLimits(e.Limits)})
	}
	return lanes, nil
}

// idle closes connections that are not in use.
func (p *pool) idle() {
	for _, l := range p.lanes {
		l.endpoint.idle()
	}
}

// A Speed says how fast endpoints are asked.
type Speed struct {
	InFlight    int     // requests that are on their way
	Concurrency int     // how many may be
	PerSecond   float64 // requests a second that are let through; 0 for as many as there are
	Waiting     Wait    // what is waited for; without Until for nothing
}

func (p *pool) speed() (s Speed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	bounded := true
	for _, l := range p.lanes {
		s.InFlight += l.inFlight
		s.Concurrency += l.window.limit(now)
		rate := l.perSecond(now)
		s.PerSecond += rate
		bounded = bounded && rate > 0
	}
	if !bounded {
		s.PerSecond = 0
	}
	s.Waiting = p.waiting
	return s
}

// enter waits for a pass.
func (p *pool) enter(ctx context.Context, t *ticket) (*pass, error) {
	p.line(t)
	select {
	case <-t.ready:
		return t.pass, t.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.gone = true; t.pass != nil {
		t.pass.lane.cancel(p.clock.Now(), t.pass)
		t.pass.lane.inFlight--
		p.admit()
	}
	return nil, ctx.Err()
}

// line puts a ticket into its queue. Its channel ready is closed when it has a pass, or will never have one.
func (p *pool) line(t *ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.ready = make(chan struct{})
	if t.again {
		p.again = append(p.again, t)
	} else {
		p.fresh = append(p.fresh, t)
	}
	p.admit()
}

// leave gives a pass back. What became of its request is told before, if one was sent.
func (p *pool) leave(s *pass) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.lane.inFlight--
	p.admit()
}

// cancel is told that the request of a pass was not needed.
func (p *pool) cancel(s *pass) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.lane.cancel(p.clock.Now(), s)
}

// answered is told of an answer.
func (p *pool) answered(s *pass, h http.Header, bytes, n int, r reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	for _, l := range p.lanes { // the model and the requests are right
		l.breaker.answered = true
	}
	p.forecast.learn(bytes, n, r.promptTokens, r.completionTokens)
	s.lane.answer(now, s, float64(r.promptTokens+r.completionTokens), s.lane.endpoint.timeout)
	s.lane.told.read(h, now, s.number, s.lane.sent, p.forecast.tokens(bytes, n, 0))
	p.tell(Wait{})
	p.admit()
}

// failed is told of a request that brought no answer. It returns whether the lane is in an outage, for how long it takes
// no requests, and whether another lane does.
func (p *pool) failed(s *pass, h http.Header, f *failure) (down bool, wait time.Duration, other bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	s.lane.told.read(h, now, s.number, s.lane.sent, s.tokens)
	s.lane.fail(now, s, f, p.draw)
	if len(p.lanes) > 1 && f.kind == "connect" && !s.lane.breaker.open { // the others take the work at once
		s.lane.breaker.open, s.lane.breaker.at = true, now.Add(backoff(1, p.draw))
	}
	for _, l := range p.lanes {
		other = other || l != s.lane && !l.down(now)
	}
	until := s.lane.until
	if s.lane.breaker.open && s.lane.breaker.at.After(until) {
		until = s.lane.breaker.at
	}
	p.admit()
	return s.lane.breaker.open, max(0, until.Sub(now)), other
}

// tokens is how many tokens a request of so many bytes, for n answers of at most most tokens, is expected to take.
func (p *pool) tokens(bytes, n, most int) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forecast.tokens(bytes, n, most)
}

// shut lets no more requests through.
func (p *pool) shut(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close(err)
}

func (p *pool) close(err error) {
	if p.end == nil {
		p.end = err
	}
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	for _, queue := range []*[]*ticket{&p.again, &p.fresh} {
		for _, t := range *queue {
			if !t.gone {
				t.err = p.end
				close(t.ready)
			}
		}
		*queue = nil
	}
}

// admit hands out the passes that there are.
func (p *pool) admit() {
	if p.end != nil {
		p.close(p.end)
		return
	}
	now := p.clock.Now()
	for {
		sent, at, waits := false, time.Time{}, true
		for _, queue := range []*[]*ticket{&p.again, &p.fresh} {
			t := foremost(queue)
			if t == nil {
				continue
			}
			c := p.choose(now, t)
			if c.lane != nil {
				(*queue)[0] = nil
				*queue = (*queue)[1:]
				t.pass = c.lane.send(now, t.key, t.tokens)
				close(t.ready)
				sent = true
				break
			}
			if !c.at.IsZero() && (at.IsZero() || c.at.Before(at)) {
				at = c.at
			}
			if waits = waits && c.waits; !c.avoided { // those behind it would not be sent either
				break
			}
		}
		if !sent {
			p.await(now, at, waits)
			return
		}
	}
}

// foremost is the first ticket of a queue whose owner still waits, nil when there is none.
func foremost(queue *[]*ticket) *ticket {
	for len(*queue) > 0 {
		if t := (*queue)[0]; !t.gone {
			return t
		}
		*queue = (*queue)[1:]
	}
	return nil
}

// A placing is the choice of a lane for a ticket: the lane that is used least among those that have room, but not one that the
// ticket avoids while another is well.
type placing struct {
	lane    *lane
	at      time.Time // without a lane, when there may be room by itself; zero for never
	waits   bool      // every lane is kept from sending by its endpoint
	avoided bool      // a lane was left out that is avoided
}

func (p *pool) choose(now time.Time, t *ticket) (c placing) {
	c.waits = true
	well := false
	for _, l := range p.lanes {
		well = well || !slices.Contains(t.avoid, l) && !l.down(now)
	}
	for _, l := range p.lanes {
		if well && slices.Contains(t.avoid, l) {
			c.avoided, c.waits = true, false
			continue
		}
		ok, at, waits := l.room(now, t.tokens)
		if ok && (c.lane == nil || l.load(now) < c.lane.load(now)) {
			c.lane = l
		}
		if !at.IsZero() && (c.at.IsZero() || at.Before(c.at)) {
			c.at = at
		}
		c.waits = c.waits && waits
	}
	return c
}

// await looks again at a time.
func (p *pool) await(now, at time.Time, waits bool) {
	if at.IsZero() {
		return
	}
	if waits {
		l, why := p.soonest(at)
		if why == "" { // nothing failed: a limit that its headers name is used up
			if why = "the limits that the endpoint " + l.name() + " names are used up"; at.Sub(now) > p.giveUp {
				p.close(gaveUp(0, p.giveUp, why, at.Sub(now)))
				return
			}
		}
		if at.Sub(now) >= toldAfter {
			p.tell(Wait{Endpoint: l.name(), Why: why, Until: at})
		}
	}
	if p.stop != nil {
		if !at.Before(p.timer) {
			return
		}
		p.stop()
	}
	p.timer = at
	p.stop = p.clock.AfterFunc(at.Sub(now), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stop = nil
		p.admit()
	})
}

// soonest is the lane that is there again at a time, and what it said when it failed or refused.
func (p *pool) soonest(at time.Time) (l *lane, why string) {
	for _, l := range p.lanes {
		if l.until.Equal(at) || l.breaker.open && l.breaker.at.Equal(at) {
			return l, l.why
		}
	}
	return p.lanes[0], ""
}

// tell tells of a wait, and of its end, once.
func (p *pool) tell(w Wait) {
	if w.Until.IsZero() && p.waiting.Until.IsZero() || !w.Until.IsZero() && w.Until.Equal(p.waiting.Until) {
		return
	}
	p.waiting = w
	if p.notify != nil {
		p.notify(w)
	}
}

// gaveUp is the error of an endpoint that let nothing through for too long.
func gaveUp(lasted, giveUp time.Duration, why string, asked time.Duration) error {
	text := ""
	if asked >= 0 {
		text = fmt.Sprintf("; it asks to wait %v", asked.Round(time.Second))
	}
	return stillhouse.Transientf("gave up, since nothing was answered for %v and distill.give_up_after is %v: %s%s; every answer is kept, run again to go on",
		lasted.Round(time.Second), giveUp, why, text)
}
