package train

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"stillhouse/internal/student"
)

// counted are rows of so many tokens: 100, 101, … in row a, 200, … in row b.
func counted(lengths ...int) (rows []Example) {
	for i, n := range lengths {
		e := Example{Row: string(rune('a' + i))}
		for t := range n {
			e.Tokens = append(e.Tokens, int32(100*(i+1)+t))
		}
		e.Labels = slices.Clone(e.Tokens)
		rows = append(rows, e)
	}
	return rows
}

// The examples of TRL's pack_dataset, and ties.
func TestPack(t *testing.T) {
	for _, c := range []struct {
		options string
		rows    []int
		want    string // per pack: name, first token of each document and its length, what was cut
	}{
		{"max_length: 4", []int{5, 2, 3, 1}, "a 100+4 cut 1 | c + d 300+3 400+1 | b 200+2"},
		{"{max_length: 4, packing_strategy: bfd_split}", []int{5, 2, 3, 1}, "a 100+4 | c + a 300+3 104+1 | b + d 200+2 400+1"},
		{"{max_length: 4, packing_strategy: bfd-requeue}", []int{9}, "a 100+4 | a 104+4 | a 108+1"},
		{"{max_length: 4, packing_strategy: wrapped}", []int{5, 2, 0, 3}, "a 100+4 | a + b + d 104+4 | d 301+2"},
		{"max_length: 10", []int{6, 6, 3, 4, 1, 0}, "a + d 100+6 400+4 | b + c + e 200+6 300+3 500+1"},
	} {
		o := pasted(t, c.options)
		o.Packing = true
		var got []string
		for _, p := range o.Pack(counted(c.rows...)) {
			s, at := p.Row, 0
			for _, n := range p.documents() {
				s += fmt.Sprintf(" %d+%d", p.Tokens[at], n)
				at += n
			}
			if p.Cut > 0 {
				s += fmt.Sprintf(" cut %d", p.Cut)
			}
			if len(p.Labels) != len(p.Tokens) || at != len(p.Tokens) {
				t.Errorf("%s: %+v", c.options, p)
			}
			got = append(got, s)
		}
		want := strings.ReplaceAll(c.want, "d 301", "d 401")
		if text := strings.Join(got, " | "); text != want {
			t.Errorf("%s of %v: %s\nnot %s", c.options, c.rows, text, want)
		}
	}
	// Rows are packed a thousand at a time, as TRL's map does it.
	if packs := (Options{Packing: true, PackingStrategy: "bfd", MaxLength: new(64)}).Pack(counted(make1(1001)...)); len(packs) != 17 || len(packs[16].Tokens) != 1 {
		t.Errorf("1001 rows of one token: %d packs", len(packs))
	}
	if rows := counted(3, 4); len((Options{}).Pack(rows)) != 2 {
		t.Error("rows are packed without packing")
	}
}

func make1(n int) []int {
	ones := make([]int, n)
	for i := range ones {
		ones[i] = 1
	}
	return ones
}

// oneUpdate trains a single update on all rows and returns its line and the weights.
func oneUpdate(t *testing.T, options string) (Line, *student.Model) {
	t.Helper()
	r := openRun(t, "c-packing-bfd")
	o := pasted(t, options)
	o.Student = tiny
	s := load(t, o)
	examples, _ := encodedBy(t, s, o, readAll(t, Data{Path: golden + "sft/data/" + r.Data + ".jsonl"}))
	var line Line
	if _, err := Fit(context.Background(), o, s.Model, examples, Hooks{Step: func(l Line) error { line = l; return nil }}); err != nil {
		t.Fatal(err)
	}
	return line, s.Model
}

// Packed by bfd, rows do not see each other and positions restart: one update on all packs is one update on all rows.
// Wrapped, they do see each other.
func TestPackedIsUnpacked(t *testing.T) {
	const one = "max_steps: 1, per_device_train_batch_size: 1, gradient_accumulation_steps: 64, learning_rate: 1e-3, weight_decay: 0.1"
	alone, want := oneUpdate(t, "{"+one+"}")
	for strategy, equal := range map[string]bool{"bfd": true, "bfd_split": true, "wrapped": false} {
		// No row has 300 tokens, so that none is cut or split.
		packed, got := oneUpdate(t, fmt.Sprintf("{%s, packing: true, max_length: 300, packing_strategy: %s}", one, strategy))
		if packed.NumTokens != alone.NumTokens {
			t.Errorf("%s: %d tokens, not %d", strategy, packed.NumTokens, alone.NumTokens)
		}
		same := math.Abs(packed.Loss-alone.Loss) < 1e-6 && math.Abs(packed.GradNorm-alone.GradNorm) < 1e-5*alone.GradNorm
		if same != equal {
			t.Errorf("%s: loss %v and norm %v, unpacked %v and %v", strategy, packed.Loss, packed.GradNorm, alone.Loss, alone.GradNorm)
		}
		for i, p := range got.Params {
			for j, v := range p.Data {
				// Adam's first step moves a weight by the learning rate, whatever its gradient: only rounding is left.
				if equal && far(float64(v), float64(want.Params[i].Data[j]), 2e-4) {
					t.Fatalf("%s: %s[%d] is %v, unpacked %v", strategy, p.Name, j, v, want.Params[i].Data[j])
				}
			}
		}
	}
}
