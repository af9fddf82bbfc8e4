package train

import (
	"context"
	"slices"
	"testing"
)

// However a window is cut into passes, it is the same window: one row at a time gives the same curve.
func TestPassesDoNotChangeTheCurve(t *testing.T) {
	r := openRun(t, "b-bs4")
	curve := func(size int) (out []Line) {
		s := load(t, r.options(t))
		examples := r.encoded(t, s)
		_, err := Training{Options: s.Options, Model: s.Model, Rows: examples, size: size, Hooks: Hooks{Line: func(l Line) error { out = append(out, l); return nil }}}.Fit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	together, alone := curve(0), curve(1)
	if len(together) == 0 || len(together) != len(alone) {
		t.Fatalf("%d and %d lines", len(together), len(alone))
	}
	for i, a := range alone {
		b := together[i]
		if far(a.Loss, b.Loss, 1e-5) || far(a.GradNorm, b.GradNorm, 1e-5*b.GradNorm) || a.MeanTokenAccuracy != b.MeanTokenAccuracy || far(a.Entropy, b.Entropy, 1e-5) {
			t.Errorf("one row at a time: %+v\ntogether: %+v", a, b)
		}
	}
	if p := passes(Window{Batches: [][]int{{0, 1}, {2}}}, []Example{{Tokens: make([]int32, 3)}, {Tokens: make([]int32, 4)}, {Tokens: make([]int32, 5)}}, 9); len(p) != 2 ||
		!slices.Equal(p[0].rows, []int{0, 1}) || !slices.Equal(p[1].of, []int{1}) || !slices.Equal(p[1].batch.Lengths, []int{5}) {
		t.Errorf("%+v", p)
	}
}

// A window is cut into the fewest passes that its rows fit into, and these are of about one length.
func TestPassesAreEven(t *testing.T) {
	for _, tc := range []struct {
		rows, want []int
		size       int
	}{
		{[]int{300, 300, 300, 300, 300}, []int{900, 600}, 1024},
		{[]int{1000, 24, 700, 77}, []int{1000, 801}, 1024},
		{[]int{1024, 387}, []int{1411}, 2048},
		{[]int{9, 9, 9, 9, 9, 9, 9}, []int{36, 27}, 60},
		{[]int{2500}, []int{2500}, 2500},
		{nil, nil, 10},
	} {
		var w Window
		examples := make([]Example, len(tc.rows))
		for i, n := range tc.rows {
			w.Batches = append(w.Batches, []int{i})
			examples[i].Tokens = make([]int32, n)
		}
		var got []int
		for _, p := range passes(w, examples, tc.size) {
			got = append(got, len(p.batch.Tokens))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("rows of %v in passes of at most %d: %v, not %v", tc.rows, tc.size, got, tc.want)
		}
	}
}
