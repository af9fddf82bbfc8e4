// Package bench is what the benchmarks share: pairs of runs, ours and a peer's, that alternate; medians over the pairs;
// commands with the processor time and memory that they take; the dated page, and one JSON object as the last line.
package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Runner is one side of a case: ours, or a peer by name.
type Runner[M any] struct {
	Name string
	Run  func(ctx context.Context) (M, error)
}

// A Case is what of ours is held against which peers. M is what one run measures.
type Case[M any] struct {
	Name  string
	Ours  func(ctx context.Context) (M, error)
	Peers []Runner[M]
}

// A Pair is one run of ours and one of each peer, next to each other in time.
type Pair[M any] struct {
	Case  string
	Ours  M
	Peers map[string]M
}

// Pairs are those of all cases, in the order in which they ran.
type Pairs[M any] []Pair[M]

// Run runs each case so many times, a case without peers once. Who goes first alternates: ours, then the peers in their
// order, then all the other way round. After each run said is told who ran, "ours" or a peer, and after each pair the
// pair is among those returned: what was measured before a run failed is there beside the error.
func Run[M any](ctx context.Context, cases []Case[M], pairs int, said func(c, who string, m M)) (Pairs[M], error) {
	var all Pairs[M]
	for _, c := range cases {
		n := pairs
		if len(c.Peers) == 0 {
			n = min(1, pairs)
		}
		for i := range n {
			p, err := c.pair(ctx, i%2 == 1, said)
			if err != nil {
				return all, fmt.Errorf("%s: %w", c.Name, err)
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// pair runs a case once.
func (c Case[M]) pair(ctx context.Context, reversed bool, said func(c, who string, m M)) (Pair[M], error) {
	p := Pair[M]{Case: c.Name, Peers: make(map[string]M, len(c.Peers))}
	runs := append([]Runner[M]{{"ours", c.Ours}}, c.Peers...)
	order := make([]int, len(runs))
	for i := range order {
		order[i] = i
	}
	if reversed {
		slices.Reverse(order)
	}
	for _, i := range order {
		m, err := runs[i].Run(ctx)
		if err != nil {
			return p, fmt.Errorf("%s: %w", runs[i].Name, err)
		}
		if i == 0 {
			p.Ours = m
		} else {
			p.Peers[runs[i].Name] = m
		}
		said(c.Name, runs[i].Name, m)
	}
	return p, nil
}

// Median is the middle of the values that of gives for the pairs of a case, of an even number the mean of the two in the
// middle, and NaN when the case did not run.
func (all Pairs[M]) Median(name string, of func(Pair[M]) float64) float64 {
	var values []float64
	for _, p := range all {
		if p.Case == name {
			values = append(values, of(p))
		}
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// Count is the number of pairs of a case.
func (all Pairs[M]) Count(name string) (n int) {
	for _, p := range all {
		if p.Case == name {
			n++
		}
	}
	return n
}

// Wanted says whether a list of names divided by commas has this one; an empty list has all.
func Wanted(only, name string) bool {
	return only == "" || slices.Contains(strings.Split(only, ","), name)
}
