package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func random(rng *rand.Rand, n int, bf16 bool) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
		if bf16 {
			x[i] = math.Float32frombits(math.Float32bits(x[i]) &^ 0xffff)
		}
	}
	return x
}

// atLevels runs a test with the kernels of each set of instructions that the processor has.
func atLevels(t *testing.T, test func(t *testing.T)) {
	for level := 1; level <= 3; level++ {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			defer func(best int) { selectDecode(best) }(0)
			selectDecode(level)
			test(t)
		})
	}
}

func slab(t testing.TB, bytes int) *Slab {
	t.Helper()
	s, err := NewSlab(bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Free)
	return s
}

func program(t testing.TB, shape CacheShape, w Widths, ops ...Op) *Program {
	t.Helper()
	p, err := NewProgram(shape, w, ops)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close) // before the slab is freed, which was made first
	return p
}

// apply runs a program on rows that are in one of its buffers and returns the rows of another.
func apply(t testing.TB, p *Program, rows int, in Buffer, x []float32, out Buffer, y []float32) []float32 {
	t.Helper()
	if p.positions == 0 {
		if err := p.SetRotation(make([]float32, max(1, p.shape.HeadDim/2)), make([]float32, max(1, p.shape.HeadDim/2))); err != nil {
			t.Fatal(err)
		}
	}
	var s Step
	for range rows {
		s.Add([]int32{0}, 0, nil, true)
	}
	s.Blocks = make([]Block, 1)
	clear(s.Table)
	if err := p.reserve(rows, rows, 1); err != nil {
		t.Fatal(err)
	}
	copy(p.Rows(in, rows), x)
	copy(p.Rows(out, rows), y)
	if err := p.Run(&s); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(p.Rows(out, rows))
}

var noCache = CacheShape{Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 2}

func TestDecodeNorm(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{5, 16, 64, 576, 100} {
			rng := rand.New(rand.NewPCG(2, uint64(n)))
			const rows = 7
			x, w := random(rng, rows*n, false), random(rng, n, false)
			s := slab(t, VectorBytes(n))
			p := program(t, noCache, Widths{BufferX: n, BufferNormed: n}, Op{Kind: OpNorm, In: BufferX, Out: BufferNormed, A: s.Vector(w), Eps: 1e-5})
			y := apply(t, p, rows, BufferX, x, BufferNormed, nil)
			for r := range rows {
				sum := 0.0
				for _, v := range x[r*n : (r+1)*n] {
					sum += float64(v) * float64(v)
				}
				for i := range n {
					want := float64(w[i]) * float64(x[r*n+i]) / math.Sqrt(sum/float64(n)+1e-5)
					if got := float64(y[r*n+i]); math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
						t.Fatalf("%d: y[%d, %d] is %v, not %v", n, r, i, got, want)
					}
				}
			}
		}
	})
}

func TestDecodeGate(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{3, 16, 37} {
			rng := rand.New(rand.NewPCG(3, uint64(n)))
			const rows = 5
			x := random(rng, rows*2*n, false)
			x[0], x[1] = 100, -100
			p := program(t, noCache, Widths{BufferGates: 2 * n, BufferActive: n}, Op{Kind: OpGate, In: BufferGates, Out: BufferActive})
			for i, got := range apply(t, p, rows, BufferGates, x, BufferActive, nil) {
				g, up := float64(x[i/n*2*n+i%n]), float64(x[i/n*2*n+n+i%n])
				if want := g / (1 + math.Exp(-g)) * up; math.Abs(float64(got)-want) > 1e-6*(1+math.Abs(want)) {
					t.Fatalf("%d: y[%d] is %v, not %v", n, i, got, want)
				}
			}
		}
	})
}

func TestDecodeExps(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{1, 15, 16, 100, 1000} {
			rng := rand.New(rand.NewPCG(4, uint64(n)))
			x, y := random(rng, n, false), make([]float32, n)
			for i := range x {
				x[i] *= 20
			}
			top, want := slices.Max(x), 0.0
			got := DecodeExps(x, 0.7, y)
			for i := range x {
				e := math.Exp(math.Max(-87, float64((x[i]-top)*0.7)))
				want += e
				if math.Abs(float64(y[i])-e) > 3e-7*e {
					t.Fatalf("exp %v is %v, not %v", (x[i]-top)*0.7, y[i], e)
				}
			}
			if math.Abs(float64(got)-want) > 1e-6*want {
				t.Errorf("%d: the sum is %v, not %v", n, got, want)
			}
		}
	})
}

func TestDecodeTop(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{1, 4, 17, 64, 1001} {
			rng := rand.New(rand.NewPCG(8, uint64(n)))
			x := random(rng, n, false)
			want := slices.Index(x, slices.Max(x))
			if got := DecodeTop(x); got != want {
				t.Errorf("of %d: %d, not %d", n, got, want)
			}
			for _, at := range []int{0, n / 2, n - 1} {
				y := slices.Clone(x)
				y[at] = x[want]
				if got := DecodeTop(y); got != min(at, want) {
					t.Errorf("of %d, the largest at %d and %d: %d", n, at, want, got)
				}
				for _, broken := range []float32{nan, inf} {
					y[at] = broken
					if got := DecodeTop(y); got != -1 {
						t.Errorf("of %d, %v at %d: %d", n, broken, at, got)
					}
				}
				if y[at] = -inf; n > 1 && DecodeTop(y) < 0 {
					t.Errorf("of %d, one -Inf is taken for a broken model", n)
				}
			}
		}
	})
}

// The loss of a label is what float64 gives, for vocabularies that are and are not whole vectors.
func TestDecodeLoss(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{3, 384, 1030, 5000} {
			rng := rand.New(rand.NewPCG(9, uint64(n)))
			const rows = 3
			x := random(rng, rows*n, false)
			for i := range x {
				x[i] *= 8
			}
			x[n] = float32(math.NaN())
			s := slab(t, PackedBytes(Float32, n, 1))
			// The logits come out of a product, as in a model: one column, so that a row of logits is a multiple of it.
			column := random(rng, n, false)
			p := program(t, noCache, Widths{BufferNormed: 1, BufferLogits: n},
				Op{Kind: OpProduct, In: BufferNormed, Out: BufferLogits, Matrix: s.Pack(Float32, 1, column), Wanted: true},
				Op{Kind: OpLoss, In: BufferLogits, Wanted: true})
			factors := []float32{3, -7, float32(math.NaN())}
			if err := p.SetRotation([]float32{1}, []float32{0}); err != nil {
				t.Fatal(err)
			}
			var step Step
			for i := range rows {
				step.Add([]int32{0}, 0, []Block{1}, true)
				step.Labels = append(step.Labels, int32((i*n/2+1)%n))
			}
			if err := p.reserve(rows, rows, rows); err != nil {
				t.Fatal(err)
			}
			copy(p.Rows(BufferNormed, rows), factors)
			if err := p.Run(&step); err != nil {
				t.Fatal(err)
			}
			for i, got := range p.Losses() {
				sum, top := 0.0, math.Inf(-1)
				for _, c := range column {
					top = max(top, float64(c*factors[i]))
				}
				for _, c := range column {
					sum += math.Exp(float64(c*factors[i]) - top)
				}
				want := top + math.Log(sum) - float64(column[step.Labels[i]]*factors[i])
				if i == 2 && got == got || i < 2 && !(math.Abs(got-want) <= 2e-6*(1+want)) {
					t.Errorf("of %d, row %d: %v, not %v", n, i, got, want)
				}
			}
		}
	})
}

// What a step must not do: the errors come before C reads anything.
func TestProgramRefuses(t *testing.T) {
	s := slab(t, PackedBytes(Float32, 8, 4))
	p := program(t, noCache, Widths{BufferX: 4, BufferLogits: 8}, Op{Kind: OpEmbed, Out: BufferX, Matrix: s.Pack(Float32, 4, make([]float32, 32))})
	if err := p.SetRotation(make([]float32, 20), make([]float32, 20)); err != nil {
		t.Fatal(err)
	}
	good := func() Step {
		return Step{Tokens: []int32{7}, Table: []int32{0}, Position: []int32{19}, Blocks: make([]Block, 2)}
	}
	for name, change := range map[string]func(*Step){
		"position":       func(s *Step) { s.Position[0] = 20 },
		"below 0":        func(s *Step) { s.Position[0] = -1 },
		"no block":       func(s *Step) { s.Blocks = s.Blocks[:1] },
		"table":          func(s *Step) { s.Table[0] = 1 },
		"token":          func(s *Step) { s.Tokens[0] = 8 },
		"negative token": func(s *Step) { s.Tokens[0] = -1 },
		"rows":           func(s *Step) { s.Table = nil },
		"wanted":         func(s *Step) { s.Wanted = []int32{1} },
		"not rising":     func(s *Step) { s.Wanted = []int32{0, -1} },
		"label":          func(s *Step) { s.Wanted, s.Labels = []int32{0}, []int32{8} },
		"labels":         func(s *Step) { s.Labels = []int32{0} },
	} {
		step := good()
		if err := p.Run(&step); err != nil {
			t.Fatal(err)
		}
		if change(&step); p.Run(&step) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
