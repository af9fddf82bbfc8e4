package grow

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat/jinja"
	"stillhouse/internal/minhash"
)

// selfInstruct shows the teacher some tasks, of the seeds and of those grown before, and asks for more.
//
// Of the paper it keeps the method: the numbers of demonstrations, the filters, the similarity. The paper's model completed
// a list; a chat model is told what is wanted, so the words are others. Tasks may have several lines here, and each is
// asked for whole, with the text that it is about: the paper's second step, which makes the inputs, is not needed then.
type selfInstruct struct {
	o        *Options
	template *jinja.Template
}

// instruction is the built-in request.
const instruction = `Here are {{ demonstrations | length }} tasks that people have given to an assistant. Write {{ last - first + 1 }} new ones, numbered {{ first }} to {{ last }}.

What makes a new task good:
- It is about something that none of the others is about, and wants another kind of work done.
- Somebody might really want it. Between them the new tasks are short and long, plain and hard, questions and orders.
- It can be done by writing alone: nothing has to be seen, heard, looked up or clicked.
- It is whole. Where a text, a list or numbers are worked on, they stand in it.

Write the new tasks only, each after its number and a point, and then a line with the word END.

{% for task in demonstrations %}
{{ loop.index }}. {{ task }}

{% endfor %}`

func newSelfInstruct(o *Options) (*selfInstruct, error) {
	source := o.Instruction
	if source == "" {
		source = instruction
	}
	t, err := jinja.Parse(source)
	if err != nil {
		return nil, stillhouse.Invalidf("prompts.grow.instruction is no Jinja template: %w", err)
	}
	return &selfInstruct{o: o, template: t}, nil
}

func (m *selfInstruct) yield() int { return m.o.Tasks }

// requests ask for one sample each, whose number is that of the request among all: two requests that show the same tasks,
// as they may where there are few, still have answers of their own.
func (m *selfInstruct) requests(round, n int, p *pool) ([]asked, error) {
	out := make([]asked, n)
	for i := range out {
		shown := m.demonstrations(round, i, p)
		r := asked{first: len(shown) + 1}
		texts := make(jinja.List, len(shown))
		for k, s := range shown {
			texts[k] = strings.TrimSpace(s.text)
			r.parents = append(r.parents, s.id)
		}
		vars := jinja.NewDict()
		vars.Set("demonstrations", texts)
		vars.Set("first", r.first)
		vars.Set("last", r.first+m.o.Tasks-1)
		text, _, err := m.template.Execute(vars, jinja.Options{Strict: true})
		if err != nil {
			return nil, stillhouse.Invalidf("prompts.grow.instruction: %w", err)
		}
		r.Request = Request{Messages: []stillhouse.Message{{Role: "user", Content: strings.TrimSpace(text)}}, First: round*m.o.Round + i, Samples: 1,
			Seed: m.o.Seed, Temperature: *m.o.Temperature, TopP: m.o.TopP, MaxTokens: m.o.MaxTokens, ExtraBody: m.o.ExtraBody}
		out[i] = r
	}
	return out, nil
}

// demonstrations draws what is shown in a request: those of lowest rank of the grown tasks and of the seeds, mixed.
func (m *selfInstruct) demonstrations(round, request int, p *pool) []shown {
	draw := minhash.Mix(minhash.Mix(minhash.Mix(uint64(m.o.Seed))^uint64(round)) ^ uint64(request))
	lowest := func(from []shown, n int) []shown {
		type ranked struct {
			rank uint64
			at   int
		}
		order := make([]ranked, len(from))
		for i, s := range from {
			order[i] = ranked{minhash.Mix(s.hash ^ draw), i}
		}
		slices.SortFunc(order, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.at, b.at)) })
		var out []shown
		for _, r := range order[:min(n, len(order))] {
			out = append(out, from[r.at])
		}
		return out
	}
	chosen := lowest(p.grown, *m.o.Bootstrapped)
	chosen = append(chosen, lowest(p.seeds, m.o.Demonstrations-len(chosen))...)
	draw = minhash.Mix(draw)
	return lowest(chosen, len(chosen))
}

var (
	numberLine = regexp.MustCompile(`^\s{0,3}(?:[#*_]{1,4}\s*)?(?:[Tt]ask\s+)?(\d{1,3})\s*[.):]\s*(?:\*\*\s+)?(.*)$`)
	endLine    = regexp.MustCompile(`^\s*[*_#\s]*END[*_.\s]*$`)
)

// cut finds the tasks of a numbered list. A task goes on until the next number of the list, so that numbers within it, of
// steps or choices, do not cut it. The list may begin at the number asked for or at 1.
func (m *selfInstruct) cut(a Answer, r asked) (items []item) {
	next := 0
	var lines []string
	flush := func() {
		if next > 0 {
			items = append(items, item{text: clean(strings.Join(lines, "\n"))})
		}
		lines = nil
	}
	ended := false
	for line := range strings.Lines(a.Text) {
		line = strings.TrimRight(line, "\r\n \t")
		if endLine.MatchString(line) {
			ended = true
			break
		}
		if found := numberLine.FindStringSubmatch(line); found != nil {
			n, err := strconv.Atoi(found[1])
			if err == nil && (n == next || next == 0 && (n == r.first || n == 1)) {
				flush()
				next = n + 1
				lines = append(lines, found[2])
				continue
			}
		}
		lines = append(lines, line)
	}
	flush()
	if n := len(items); n > 0 && a.Truncated && !ended {
		items[n-1].reason, items[n-1].detail = "truncated", fmt.Sprintf("the answer ended at %d tokens", r.MaxTokens)
	}
	return items
}

// clean takes off a task what is of the list: stars around the whole, quotation marks around the whole, rules below it.
func clean(text string) string {
	text = strings.TrimSpace(text)
	text = strings.TrimSpace(strings.TrimRight(strings.TrimSuffix(text, "---"), "-"))
	for _, pair := range [][2]string{{"**", "**"}, {`"`, `"`}, {"“", "”"}} {
		if inner, ok := strings.CutPrefix(text, pair[0]); ok {
			if inner, ok := strings.CutSuffix(inner, pair[1]); ok && !strings.Contains(inner, pair[0]) && !strings.Contains(inner, pair[1]) {
				text = strings.TrimSpace(inner)
			}
		}
	}
	if strings.Count(text, "**")%2 == 1 { // the other pair stood before the number
		text = strings.TrimSuffix(text, "**")
	}
	return strings.TrimSpace(text)
}
