// Package grow makes prompts of a teacher: tasks like those of a seed file, by Self-Instruct (Wang et al., 2022, arXiv
// 2212.10560), or what its users would say, by Magpie (Xu et al., 2024, arXiv 2406.08464).
//
//	pool ──draw──▶ requests of a round ──ask──▶ answers ──cut──▶ new prompts ──judge──▶ pool
//	               selfinstruct.go, magpie.go                                 judge.go
//
// What comes out is a function of the options, the seed prompts and the answers: rounds follow each other in a fixed order,
// and so do the requests of a round. Since answers are in the response store, growth that was stopped begins anew and is at
// once where it was; a higher target asks for what is missing only.
package grow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/distill/prompts"
	"stillhouse/internal/rowfile"
)

// A Teacher is asked by way of its response store.
type Teacher interface {
	// Ask gets the answers to samples First to First+Samples-1 of a request, in their order. A sample that failed alone
	// has its error; an error ends the growth. It may be called from several goroutines.
	Ask(ctx context.Context, r Request) ([]Answer, error)
}

// A Request is a chat or, where it has no messages, a text to go on from.
type Request struct {
	Messages    []stillhouse.Message
	Text        string
	First       int
	Samples     int
	Seed        int64
	Temperature float64
	TopP        *float64
	MaxTokens   int
	Stop        []string
	ExtraBody   map[string]any
}

// An Answer is one sample of a request.
type Answer struct {
	Text      string
	Truncated bool   // it ended at MaxTokens
	Key       string // of the response store
	Err       error
}

// A Sink takes what grows, in its order. A nil function takes nothing.
type Sink struct {
	Prompt func(stillhouse.Prompt) error
	Bad    func(prompts.BadRow) error // what was dropped, with its text
}

// A Summary says what became of the growth.
type Summary struct {
	Account  stillhouse.Account // in: prompts cut from answers; dropped: see judge.go
	Requests int                // asked for, those whose answers were stored included
	Rounds   int
	Stopped  string // why there are fewer than the target; empty when there are not
}

// fruitless is after how many rounds in a row that brought nothing growth stops.
const fruitless = 5

// A method makes the requests of a round and cuts answers into prompts.
type method interface {
	// requests makes the first n requests of a round. They depend on the round, their place in it and the pool at its
	// beginning.
	requests(round, n int, p *pool) ([]asked, error)
	// cut finds the prompts in an answer to a request.
	cut(a Answer, r asked) []item
	// yield is how many prompts a request brings when nothing is dropped.
	yield() int
}

// An asked request, with the prompts that were shown in it.
type asked struct {
	Request
	parents []string // ids
	first   int      // the number of the first task asked for
}

// An item is a prompt cut from an answer, or what should have been one.
type item struct {
	text   string
	reason string // why it is none; empty where it may be one
	detail string
}

// A pool is what there is to show and to keep new prompts apart from.
type pool struct {
	seeds, grown []shown
}

type shown struct {
	id, text string
	hash     uint64 // of the id
}

func newShown(id, text string) shown {
	sum := sha256.Sum256([]byte(id))
	return shown{id: id, text: text, hash: uint64(sum[0]) | uint64(sum[1])<<8 | uint64(sum[2])<<16 | uint64(sum[3])<<24 |
		uint64(sum[4])<<32 | uint64(sum[5])<<40 | uint64(sum[6])<<48 | uint64(sum[7])<<56}
}

// Grow grows prompts. Options must be valid; seeds are the prompts there are, whose last messages are shown and kept apart
// from. Growth ends at the target, at max_requests, or when five rounds in a row bring nothing new.
func Grow(ctx context.Context, o Options, seeds []stillhouse.Prompt, t Teacher, to Sink) (s Summary, err error) {
	g := &growth{o: &o, teacher: t, to: to, judge: newJudge(&o)}
	g.s.Account.Dropped = map[string]int64{}
	switch o.Method {
	case Magpie:
		g.method = &magpie{o: &o}
	default:
		if g.method, err = newSelfInstruct(&o); err != nil {
			return s, err
		}
		if err := o.CheckSeeds(len(seeds)); err != nil {
			return s, err
		}
	}
	for _, p := range seeds {
		text := p.Prompt[len(p.Prompt)-1].Content
		g.pool.seeds = append(g.pool.seeds, newShown(p.ID, text))
		g.judge.keep(p.ID, text)
	}
	barren := 0
	for ; g.s.Account.Kept < int64(o.Target); g.s.Rounds++ {
		before := g.s.Account.Kept
		switch n := g.size(); {
		case n == 0:
			g.s.Stopped = fmt.Sprintf("max_requests (%d) is reached", o.MaxRequests)
		case barren == fruitless:
			g.s.Stopped = fmt.Sprintf("the last %d rounds brought nothing new", barren)
		default:
			if err := g.round(ctx, n); err != nil {
				return g.s, err
			}
			if barren++; g.s.Account.Kept > before {
				barren = 0
			}
			continue
		}
		break
	}
	return g.s, nil
}

// A growth is at work.
type growth struct {
	o       *Options
	teacher Teacher
	method  method
	to      Sink
	judge   *judge
	pool    pool
	s       Summary
}

// size is how many requests the next round has: as many as what is missing takes by what requests brought so far, at most
// round. So a higher target changes only the size of the last rounds.
func (g *growth) size() int {
	missing := g.o.Target - int(g.s.Account.Kept)
	each := float64(g.method.yield())
	if g.s.Requests > 0 {
		each = max(float64(g.s.Account.Kept)/float64(g.s.Requests), 0.1)
	}
	n := int(math.Ceil(float64(missing) / each))
	return max(0, min(n, g.o.Round, g.o.MaxRequests-g.s.Requests))
}

// round asks n requests at once and judges what they bring one after the other.
func (g *growth) round(ctx context.Context, n int) error {
	requests, err := g.method.requests(g.s.Rounds, n, &g.pool)
	if err != nil {
		return err
	}
	answers := make([][]Answer, len(requests))
	asking, asked := errgroup.WithContext(ctx)
	for i, r := range requests {
		asking.Go(func() (err error) {
			answers[i], err = g.teacher.Ask(asked, r.Request)
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return fmt.Errorf("grow prompts: %w", err)
	}
	g.s.Requests += n
	number := 0
	for i, r := range requests {
		for _, a := range answers[i] {
			number++
			place := fmt.Sprintf("round %d request %d", g.s.Rounds+1, number)
			if err := g.take(place, a, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// take judges the prompts of an answer.
func (g *growth) take(place string, a Answer, r asked) error {
	if a.Err != nil {
		return g.drop(place, item{reason: "no_answer", detail: a.Err.Error()})
	}
	items := g.method.cut(a, r)
	if len(items) == 0 {
		return g.drop(place, item{text: a.Text, reason: "unparsable", detail: "there is no prompt in the answer"})
	}
	for i, it := range items {
		at := place
		if len(items) > 1 {
			at = fmt.Sprintf("%s item %d", place, i+1)
		}
		if g.s.Account.Kept >= int64(g.o.Target) {
			it.reason, it.detail = "beyond_target", fmt.Sprintf("there were %d already", g.o.Target)
		}
		var similarity float64
		if it.reason == "" {
			it, similarity = g.judge.judge(it.text)
		}
		var err error
		if it.reason != "" {
			err = g.drop(at, it)
		} else {
			err = g.keep(it.text, similarity, a, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *growth) drop(place string, it item) error {
	g.s.Account.In++
	g.s.Account.Dropped[it.reason]++
	if g.to.Bad == nil {
		return nil
	}
	return g.to.Bad(prompts.BadRow{Place: place, Reason: it.reason, Detail: it.detail, Text: it.text})
}

// origin is what meta says of a grown prompt.
type origin struct {
	Method     string   `json:"method"`
	Parent     []string `json:"parent"` // ids of the prompts that were shown
	RequestKey string   `json:"request_key"`
	Similarity *float64 `json:"similarity,omitempty"` // to the prompt most like it, of those before it; by ROUGE-L only
}

func (g *growth) keep(text string, similarity float64, a Answer, r asked) error {
	p := stillhouse.Prompt{Prompt: []stillhouse.Message{{Role: "user", Content: text}}, Source: g.o.Method}
	b, err := rowfile.Encode([]any{p.Prompt, p.Tools})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	p.ID = hex.EncodeToString(sum[:16])
	from := origin{Method: g.o.Method, Parent: r.parents, RequestKey: a.Key}
	if g.o.Near == RougeL {
		from.Similarity = &similarity
	}
	if from.Parent == nil {
		from.Parent = []string{}
	}
	meta, err := rowfile.Encode(from)
	if err != nil {
		return err
	}
	p.Meta = new(string(meta))
	g.judge.keep(p.ID, text)
	g.pool.grown = append(g.pool.grown, newShown(p.ID, text))
	g.s.Account.In++
	g.s.Account.Kept++
	if g.to.Prompt == nil {
		return nil
	}
	return g.to.Prompt(p)
}
