package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var weightTypes = []WeightType{Float32, BFloat16, Q8_0}

// unpacked is the whole matrix as a product sees it, [n, k].
func unpacked(t testing.TB, p *Packed, k int) []float64 {
	rows := program(t, noCache, Widths{BufferX: k}, Op{Kind: OpEmbed, Out: BufferX, Matrix: p})
	if err := rows.SetRotation([]float32{1}, []float32{0}); err != nil {
		t.Fatal(err)
	}
	var s Step
	for i := range p.Rows() {
		s.Add([]int32{int32(i)}, 0, []Block{1}, false)
	}
	if err := rows.Run(&s); err != nil {
		t.Fatal(err)
	}
	var out []float64
	for _, x := range rows.Rows(BufferX, p.Rows()) {
		out = append(out, float64(x))
	}
	return out
}

// A product, its bias and its sum onto what was there, for every type of weights, against float64 over the weights as they
// are held; any number of rows, any row first, any number of threads: the same bits.
func TestProduct(t *testing.T) {
	defer SetThreads(Threads())
	for _, shape := range []struct{ n, k int }{{1, 1}, {16, 8}, {100, 128}, {70, 33}, {49, 64}, {1030, 96}} {
		for _, kind := range weightTypes {
			rng := rand.New(rand.NewPCG(1, uint64(shape.n)))
			const m = 29
			x, start, bias := random(rng, m*shape.k, false), random(rng, m*shape.n, false), random(rng, shape.n, false)
			x[0] *= 1000 // a scale for a whole row would lose the others
			w := random(rng, shape.n*shape.k, false)
			cut := shape.n / 3 * shape.k
			s := slab(t, PackedBytes(kind, shape.n, shape.k)+VectorBytes(shape.n))
			packed, b := s.Pack(kind, shape.k, w[:cut], w[cut:]), s.Vector(bias)
			held := unpacked(t, packed, shape.k)
			widths := Widths{BufferNormed: shape.k, BufferX: shape.n}
			ops := []Op{{Kind: OpProduct, In: BufferNormed, Out: BufferX, Matrix: packed, A: b}}
			if kind == Q8_0 {
				ops = slices.Insert(ops, 0, Op{Kind: OpRound, In: BufferNormed})
			}
			added := slices.Clone(ops)
			added[len(added)-1].Add = true
			plain, adding := program(t, noCache, widths, ops...), program(t, noCache, widths, added...)
			var widest []float32
			atLevels(t, func(t *testing.T) {
				y := apply(t, plain, m, BufferNormed, x, BufferX, nil)
				sum := apply(t, adding, m, BufferNormed, x, BufferX, start)
				for i, got := range y {
					want, size := float64(bias[i%shape.n]), math.Abs(float64(bias[i%shape.n]))
					row, rounding := x[i/shape.n*shape.k:(i/shape.n+1)*shape.k], 0.0
					for j, a := range row {
						v := float64(a) * held[i%shape.n*shape.k+j]
						want += v
						size += math.Abs(v)
						if kind == Q8_0 { // to 16 bits, 32 values to a scale
							block := row[j/32*32 : min(shape.k, j/32*32+32)]
							most := max(slices.Max(block), -slices.Min(block))
							rounding += math.Abs(held[i%shape.n*shape.k+j]) * float64(most) / 32767 / 2
						}
					}
					if math.Abs(float64(got)-want) > 1e-6*size+rounding {
						t.Fatalf("%v type %d: y[%d] is %v, not %v", shape, kind, i, got, want)
					}
					if sum[i] != start[i]+got {
						t.Fatalf("%v type %d: added, y[%d] is %v, not %v", shape, kind, i, sum[i], start[i]+got)
					}
				}
				for rows := 1; rows <= 20; rows++ {
					SetThreads(1 + rows%3)
					for _, first := range []int{0, 3, m - rows} {
						part := apply(t, plain, rows, BufferNormed, x[first*shape.k:(first+rows)*shape.k], BufferX, nil)
						if !slices.Equal(part, y[first*shape.n:(first+rows)*shape.n]) {
							t.Fatalf("%v type %d: rows %d to %d alone differ from the same rows among %d", shape, kind, first, first+rows, m)
						}
					}
				}
				if decodeFused() {
					if widest == nil {
						widest = y
					}
					if !slices.Equal(widest, y) {
						t.Errorf("%v type %d: the result depends on the instructions used", shape, kind)
					}
				}
			})
		}
	}
}

// Weights are held as they are, rounded to bfloat16, or as llama.cpp's Q8_0: never further off than half a step.
func TestPack(t *testing.T) {
	const n, k = 21, 70
	rng := rand.New(rand.NewPCG(6, 6))
	w := random(rng, n*k, false)
	for i := range 32 {
		w[i] = 0        // a block of zeros
		w[k+i] *= 1e-6  // a scale below fp16's normal numbers
		w[2*k+i] *= 1e8 // one above fp16's numbers
		w[3*k+i] = float32(i) - 16
	}
	for _, kind := range weightTypes {
		s := slab(t, PackedBytes(kind, n, k))
		for i, got := range unpacked(t, s.Pack(kind, k, w), k) {
			x, block := float64(w[i]), i%k/32*32
			limit := 0.0
			switch kind {
			case BFloat16:
				limit = math.Abs(x) / 256
			case Q8_0:
				most := 0.0
				for j := block; j < min(k, block+32); j++ {
					most = max(most, math.Abs(float64(w[i/k*k+j])))
				}
				limit = most/127/2 + most/2048 + 127.0/(1<<25) // half a step, the scale's own rounding, and that below normal
				if i/k == 2 && block == 0 {
					limit = most
				}
			}
			if math.Abs(got-x) > limit {
				t.Errorf("type %d: element %d is held as %v, not %v ± %v", kind, i, got, x, limit)
			}
		}
	}
}

// Values that all are bfloat16 are held in half the memory, and nothing changes.
func TestPackKeepsBFloat16(t *testing.T) {
	w := random(rand.New(rand.NewPCG(7, 7)), 48*10, true)
	s := slab(t, PackedBytes(Float32, 48, 10))
	p := s.Pack(Float32, 10, w)
	if p.Type() != BFloat16 {
		t.Fatalf("held as type %d", p.Type())
	}
	for i, got := range unpacked(t, p, 10) {
		if got != float64(w[i]) {
			t.Fatalf("element %d is %v, not %v", i, got, w[i])
		}
	}
}

// A value that is not finite is never lost, whatever the weights' type.
func TestBrokenValues(t *testing.T) {
	for _, kind := range weightTypes {
		for _, broken := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			w, x := random(rand.New(rand.NewPCG(8, 8)), 20*40, false), random(rand.New(rand.NewPCG(9, 9)), 40, false)
			run := func(w, x []float32) []float32 {
				s := slab(t, PackedBytes(kind, 20, 40))
				ops := []Op{{Kind: OpRound, In: BufferNormed}, {Kind: OpProduct, In: BufferNormed, Out: BufferX, Matrix: s.Pack(kind, 40, w)}}
				return apply(t, program(t, noCache, Widths{BufferNormed: 40, BufferX: 20}, ops...), 1, BufferNormed, x, BufferX, nil)
			}
			atLevels(t, func(t *testing.T) {
				bad := slices.Clone(w)
				bad[7*40+35] = float32(broken)
				if y := run(bad, x)[7]; y-y == 0 {
					t.Errorf("type %d: %v among the weights gives %v", kind, broken, y)
				}
				bad = slices.Clone(x)
				bad[33] = float32(broken)
				for i, y := range run(w, bad) {
					if y-y == 0 {
						t.Errorf("type %d: %v among the activations gives %v at %d", kind, broken, y, i)
					}
				}
			})
		}
	}
}

func TestRoundHalf(t *testing.T) {
	for _, tc := range []struct {
		x    float32
		want uint16
	}{{0, 0}, {1, 0x3c00}, {65504, 0x7bff}, {1.0 / 3, 0x3555}, {0x1p-14, 0x0400}, {0x1p-24, 1}, {0x1p-25, 0}, {0x1.8p-24, 2}, {1 + 0x1p-11, 0x3c00}, {1 + 0x1.8p-10, 0x3c02}, {0x1.ffep-15, 0x0400}} {
		if got := roundHalf(tc.x); got != tc.want {
			t.Errorf("%v is %#x, not %#x", tc.x, got, tc.want)
		}
	}
}

func BenchmarkProduct(b *testing.B) {
	for _, m := range []int{1, 8, 256} {
		for _, kind := range weightTypes {
			b.Run(fmt.Sprintf("rows=%d/type=%v", m, kind), func(b *testing.B) {
				const k, n = 576, 1536
				rng := rand.New(rand.NewPCG(1, 1))
				s := slab(b, PackedBytes(kind, n, k))
				p := program(b, noCache, Widths{BufferNormed: k, BufferGates: n}, Op{Kind: OpProduct, In: BufferNormed, Out: BufferGates, Matrix: s.Pack(kind, k, random(rng, n*k, false))})
				x := random(rng, m*k, false)
				for b.Loop() {
					apply(b, p, m, BufferNormed, x, BufferGates, nil)
				}
				b.ReportMetric(2*float64(m)*k*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
