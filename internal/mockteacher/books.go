package mockteacher

import (
	"encoding/binary"
	"strconv"
	"sync"
)

// books count what became of each request body, in parts so that requests rarely wait for each other.
type books [64]struct {
	mu     sync.Mutex
	bodies map[[32]byte]*book
}

type book struct{ requests, answered, resent, faults int64 }

func (b *books) init() {
	for i := range b {
		b[i].bodies = map[[32]byte]*book{}
	}
}

func (b *books) with(sum [32]byte, do func(*book)) {
	part := &b[sum[0]%64]
	part.mu.Lock()
	defer part.mu.Unlock()
	one := part.bodies[sum]
	if one == nil {
		one = &book{}
		part.bodies[sum] = one
	}
	do(one)
}

// arrive counts a request and says how often its body came before.
func (b *books) arrive(sum [32]byte) (before int64) {
	b.with(sum, func(one *book) {
		before = one.requests
		one.requests++
		if one.answered > 0 {
			one.resent++
		}
	})
	return before
}

func (b *books) answered(sum [32]byte) { b.with(sum, func(one *book) { one.answered++ }) }

// fault draws the fault of a request, "" for none.
func (s *Server) fault(sum [32]byte, before int64) string {
	if len(s.opts.Faults) == 0 {
		return ""
	}
	u := unit(binary.LittleEndian.Uint64(sum[8:]) ^ mix(uint64(before)+1))
	for _, kind := range FaultKinds {
		if u -= s.opts.Faults[kind]; u >= 0 {
			continue
		}
		allowed := true
		s.books.with(sum, func(one *book) {
			one.faults++
			allowed = s.opts.FaultsMax == 0 || one.faults <= int64(s.opts.FaultsMax)
		})
		if allowed {
			return kind
		}
		return ""
	}
	return ""
}

// met counts a fault, "" for none, before its request hears of it.
func (s *Server) met(fault string) {
	if fault == "" {
		return
	}
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	s.byFaults[fault]++
}

// count counts an answer, after it is sent.
func (s *Server) count(status int) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	s.byStatus[strconv.Itoa(status)]++
}

// Stats are the books, as /stats gives them. Bodies are told apart byte for byte.
type Stats struct {
	Requests       int64            `json:"requests"`
	ByStatus       map[string]int64 `json:"by_status"` // 0: no whole answer was sent
	ByFault        map[string]int64 `json:"by_fault"`
	Bodies         int64            `json:"bodies"`
	AnsweredBodies int64            `json:"answered_bodies"`
	Resent         int64            `json:"resent_after_answer"` // requests whose body had a whole answer already
	MostAtOnce     int64            `json:"most_at_once"`
	FirstNS        int64            `json:"first_request_ns"` // Unix time in nanoseconds, 0 before it
	LastNS         int64            `json:"last_answer_ns"`
}

// Window is the time from the first request to the last whole answer, in seconds.
func (s Stats) Window() float64 { return float64(s.LastNS-s.FirstNS) / 1e9 }

// Stats says what has come so far.
func (s *Server) Stats() Stats {
	out := Stats{Requests: s.requests.Load(), MostAtOnce: s.most.Load(), FirstNS: s.firstNS.Load(), LastNS: s.lastOKNS.Load(),
		ByStatus: map[string]int64{}, ByFault: map[string]int64{}}
	s.statusMu.Lock()
	for k, n := range s.byStatus {
		out.ByStatus[k] = n
	}
	for k, n := range s.byFaults {
		out.ByFault[k] = n
	}
	s.statusMu.Unlock()
	for i := range s.books {
		part := &s.books[i]
		part.mu.Lock()
		for _, b := range part.bodies {
			out.Bodies++
			if b.answered > 0 {
				out.AnsweredBodies++
			}
			out.Resent += b.resent
		}
		part.mu.Unlock()
	}
	return out
}
