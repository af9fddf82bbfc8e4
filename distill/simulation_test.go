package distill

import (
	"container/heap"
	"context"
	"fmt"
	"net/http"
	"time"
)

// A simulation drives a pool against endpoints that are functions, in a time of its own: each event happens at its
// moment, and one after the other. What comes out is always the same.
type simulation struct {
	now    time.Time
	events agenda
	number int
	draw   uint64
	stall  float64 // how likely the program stands still for a second after an event
}

type event struct {
	at     time.Time
	number int
	do     func()
}

type agenda []*event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].number < a[j].number
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(*event)) }
func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	*a = old[:len(old)-1]
	return e
}

func (s *simulation) Now() time.Time { return s.now }

func (s *simulation) Sleep(context.Context, time.Duration) error {
	panic("nothing sleeps in a simulation")
}

func (s *simulation) AfterFunc(d time.Duration, do func()) (stop func()) {
	s.number++
	e := &event{at: s.now.Add(d), number: s.number, do: do}
	heap.Push(&s.events, e)
	return func() { e.do = nil }
}

// random is a number from 0 to 1.
func (s *simulation) random() float64 {
	s.draw += 0x9e3779b97f4a7c15
	z := s.draw
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// A host is a simulated endpoint: what it says to a request that comes at a moment with so many others there, and when.
type host func(now time.Time, inFlight int) (status int, header http.Header, after time.Duration)

// A tally of a simulation.
type outcomes struct {
	requests, answers, refusals []int // by lane
	lasted                      time.Duration
	waits                       []Wait
	err                         error
}

func (o outcomes) perAnswer() float64 { return float64(total(o.requests)) / float64(total(o.answers)) }

func (o outcomes) String() string {
	return fmt.Sprintf("%v requests, %v answers, %v refusals in %.2f s: %v", o.requests, o.answers, o.refusals, o.lasted.Seconds(), o.err)
}

func total(ns []int) (sum int) {
	for _, n := range ns {
		sum += n
	}
	return sum
}

// run sends prompts requests through lanes to hosts, each until it is answered, and each refused one after back-off as
// request does.
func (s *simulation) run(prompts int, lanes []*lane, hosts []host, giveUp time.Duration) outcomes {
	s.now = time.Unix(1e9, 0)
	began := s.now
	out := outcomes{requests: make([]int, len(lanes)), answers: make([]int, len(lanes)), refusals: make([]int, len(lanes))}
	p := newPool(lanes, s, s.random, giveUp)
	p.notify = func(w Wait) { out.waits = append(out.waits, w) }
	there := make([]int, len(lanes)) // requests that the hosts have
	index := map[*lane]int{}
	for i, l := range lanes {
		index[l] = i
	}
	type client struct {
		*ticket
		tries int
	}
	var lined []*client
	next := 0
	line := func(c *client) {
		c.tokens = p.tokens(100, 1, 0)
		p.line(c.ticket)
		lined = append(lined, c)
	}
	send := func(c *client) {
		l := index[c.pass.lane]
		out.requests[l]++
		there[l]++
		status, header, after := hosts[l](s.now, there[l])
		s.AfterFunc(after, func() {
			there[l]--
			out.lasted = s.now.Sub(began)
			if status == http.StatusOK {
				out.answers[l]++
				p.answered(c.pass, header, 100, 1, reply{promptTokens: 25, completionTokens: 100})
				p.leave(c.pass)
				return
			}
			out.refusals[l]++
			wait, exact := retryAfter(header, s.now)
			f := &failure{scope: rateOnly, kind: fmt.Sprint(status), status: status, wait: wait, exact: exact, message: fmt.Sprint(status)}
			if status != http.StatusTooManyRequests && wait < 0 {
				f.scope = again
			}
			pass := c.pass
			_, _, other := p.failed(pass, header, f)
			p.leave(pass)
			retry := &client{ticket: &ticket{key: c.key, again: true, avoid: []*lane{pass.lane}}, tries: c.tries + 1}
			if c.tries > 0 && !other {
				s.AfterFunc(backoff(c.tries-1, s.random), func() { line(retry) })
				return
			}
			line(retry)
		})
	}
	for {
		// As many as a run has in work stand in line.
		for next < prompts && len(lined) < 1024 {
			line(&client{ticket: &ticket{key: Key{byte(next), byte(next >> 8), byte(next >> 16)}}})
			next++
		}
		rest := lined[:0]
		ready := []*client{}
		for _, c := range lined {
			select {
			case <-c.ready:
				ready = append(ready, c)
			default:
				rest = append(rest, c)
			}
		}
		lined = rest
		for _, c := range ready {
			if c.err != nil {
				out.err = c.err
				return out
			}
			send(c)
		}
		if len(ready) > 0 {
			continue
		}
		if s.events.Len() == 0 {
			return out
		}
		e := heap.Pop(&s.events).(*event)
		if e.do == nil {
			continue
		}
		if e.at.After(s.now) {
			s.now = e.at
		}
		if e.do(); s.stall > 0 && s.random() < s.stall {
			s.now = s.now.Add(time.Second)
		}
	}
}

// limited is a host that lets a rate through, and burst at once after a pause.
func (s *simulation) limited(rate, burst float64, header http.Header, latency, refusal time.Duration) host {
	level, last := burst, time.Time{}
	return func(now time.Time, _ int) (int, http.Header, time.Duration) {
		if !last.IsZero() {
			level = min(burst, level+now.Sub(last).Seconds()*rate)
		}
		last = now
		if level < 1 {
			return http.StatusTooManyRequests, header, refusal
		}
		level--
		return http.StatusOK, nil, time.Duration(float64(latency) * (0.5 + s.random()))
	}
}

func simulatedLane(most int) *lane {
	return &lane{endpoint: &endpoint{url: "http://simulated/v1", timeout: 10 * time.Minute}, window: newWindow(most)}
}
