package prompts

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// examples are the few-shot examples that prompts choose from: the rows of lowest rank, up to pool of them.
type examples struct {
	o    *FewShot // nil where there are none
	pool []example
}

// An example is a row's conversation without its system prompt, with the answer after it.
type example struct {
	mark
	turns    []stillhouse.Message
	whole    []json.RawMessage // the same, where a message has more than role and content
	question identity
	place    string // such as "train.jsonl line 7"
}

// pool is a heap whose top is the example of the highest rank.
type pool []example

func (p pool) Len() int           { return len(p) }
func (p pool) Less(i, j int) bool { return p[i].after(p[j].mark) }
func (p pool) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *pool) Push(v any)        { *p = append(*p, v.(example)) }
func (p *pool) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// readExamples draws the pool from the example files, by default the prompts' own. A row without an answer is none.
func readExamples(ctx context.Context, m *maker, own []file) (*examples, error) {
	o := m.o.FewShot
	if o == nil {
		return &examples{}, nil
	}
	r := &reader{maker: m, files: own, examples: true}
	if len(o.Path) > 0 {
		var err error
		if r.files, err = filesOf(ctx, o.Path, m.o.Progress); err != nil {
			return nil, fmt.Errorf("read few-shot examples: %s.few_shot.path: %w", m.o.Section, err)
		}
	}
	var kept pool
	at := int64(0)
	_, err := r.read(ctx, func(p made) error {
		e := example{mark: mark{p.question.rank(o.Seed), at}, question: p.question, place: fmt.Sprintf("%s:%d", p.file.Source, p.row)}
		at++
		if len(kept) == o.Pool && !kept[0].after(e.mark) {
			return nil
		}
		system, turns := splitSystem(p.Prompt.Prompt)
		e.turns = append(slices.Clone(turns), stillhouse.Message{Role: "assistant", Content: p.answer})
		if p.Messages != nil {
			raw, err := p.whole()
			if err != nil {
				return err
			}
			answer, err := rowfile.Encode(e.turns[len(e.turns)-1])
			if err != nil {
				return err
			}
			e.whole = append(slices.Clone(raw[len(system):]), answer)
		}
		if len(kept) < o.Pool {
			heap.Push(&kept, e)
			return nil
		}
		kept[0] = e
		heap.Fix(&kept, 0)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("few-shot examples: %w", err)
	}
	slices.SortFunc(kept, func(a, b example) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.at, b.at)) })
	return &examples{o: o, pool: kept}, nil
}

// before puts examples between the system prompt and the conversation, and their places into meta. Fixed ones are the
// first of the pool; otherwise a prompt ranks the pool anew, by the seed and its own conversation. A row with the
// prompt's conversation is never among them.
func (e *examples) before(p *made) error {
	if e.o == nil {
		return nil
	}
	chosen, err := e.choose(p)
	if err != nil {
		return err
	}
	if err := p.addWhole(chosen); err != nil {
		return err
	}
	system, turns := splitSystem(p.Prompt.Prompt)
	ms := slices.Clone(system)
	places := make([]string, len(chosen))
	for i, x := range chosen {
		ms = append(ms, x.turns...)
		places[i] = x.place
	}
	p.Prompt.Prompt = append(ms, turns...)
	meta := map[string]json.RawMessage{}
	if p.Meta != nil {
		if err := json.Unmarshal([]byte(*p.Meta), &meta); err != nil {
			return err
		}
	}
	if meta[exampleKey], err = rowfile.Encode(places); err != nil {
		return err
	}
	b, err := rowfile.Encode(meta)
	if err != nil {
		return err
	}
	text := string(b)
	p.Meta = &text
	return nil
}

// addWhole puts examples into the messages that have more than role and content, of the prompt or of the examples.
func (p *made) addWhole(chosen []*example) error {
	if p.Messages == nil && !slices.ContainsFunc(chosen, func(x *example) bool { return x.whole != nil }) {
		return nil
	}
	raw, err := p.whole()
	if err != nil {
		return err
	}
	system, _ := splitSystem(p.Prompt.Prompt)
	all := slices.Clone(raw[:len(system)])
	for _, x := range chosen {
		whole := x.whole
		if whole == nil {
			if whole, err = (&made{Prompt: stillhouse.Prompt{Prompt: x.turns}}).whole(); err != nil {
				return err
			}
		}
		all = append(all, whole...)
	}
	text, err := rowfile.Encode(append(all, raw[len(system):]...))
	if err != nil {
		return err
	}
	p.Messages = new(string(text))
	return nil
}

func (e *examples) choose(p *made) ([]*example, error) {
	type ranked struct {
		rank uint64
		at   int
	}
	own := int64(binary.LittleEndian.Uint64(p.question[:]))
	var order []ranked
	for i := range e.pool {
		if e.pool[i].question == p.question {
			continue
		}
		rank := uint64(i)
		if !e.o.Fixed {
			rank = mix(e.pool[i].rank ^ uint64(own))
		} else if len(order) == e.o.Count {
			break
		}
		order = append(order, ranked{rank, i})
	}
	if len(order) < e.o.Count {
		return nil, stillhouse.Invalidf("few-shot examples: %s row %d wants %d examples, and there are only %d besides itself: lower few_shot.count, or name files with more in few_shot.path",
			p.file.Name, p.row, e.o.Count, len(order))
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.at, b.at)) })
	out := make([]*example, e.o.Count)
	for i := range out {
		out[i] = &e.pool[order[i].at]
	}
	return out, nil
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64 bits that looks random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

var errNoAnswer = errors.New("there is no answer")
