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

func TestPackedProduct(t *testing.T) {
	for _, shape := range []struct{ n, k int }{{1, 1}, {16, 8}, {100, 128}, {70, 33}, {49, 64}} {
		for _, bf16 := range []bool{false, true} {
			rng := rand.New(rand.NewPCG(1, uint64(shape.n)))
			const m = 29
			x, start := random(rng, m*shape.k, false), random(rng, m*shape.n, false)
			w := random(rng, shape.n*shape.k, bf16)
			cut := shape.n / 3 * shape.k
			p := Pack(shape.k, w[:cut], w[cut:])
			if (p.half != nil) != bf16 {
				t.Fatalf("bf16 %v: packed as half: %v", bf16, p.half != nil)
			}
			var widest []float32
			atLevels(t, func(t *testing.T) {
				y, sum := make([]float32, m*shape.n), slices.Clone(start)
				p.Mul(x, m, y, false)
				p.Mul(x, m, sum, true)
				for i, got := range y {
					want, size := 0.0, 0.0
					for j := range shape.k {
						v := float64(x[i/shape.n*shape.k+j]) * float64(w[i%shape.n*shape.k+j])
						want += v
						size += math.Abs(v)
					}
					if math.Abs(float64(got)-want) > 1e-6*size {
						t.Fatalf("%v bf16 %v: y[%d] is %v, not %v", shape, bf16, i, got, want)
					}
					if sum[i] != start[i]+got {
						t.Fatalf("%v bf16 %v: added, y[%d] is %v, not %v", shape, bf16, i, sum[i], start[i]+got)
					}
				}
				// Any number of rows, any row first: the same bits.
				for rows := 1; rows <= 20; rows++ {
					for _, first := range []int{0, 3, m - rows} {
						part := make([]float32, rows*shape.n)
						p.Mul(x[first*shape.k:], rows, part, false)
						if !slices.Equal(part, y[first*shape.n:(first+rows)*shape.n]) {
							t.Fatalf("%v bf16 %v: rows %d to %d alone differ from the same rows among %d", shape, bf16, first, first+rows, m)
						}
					}
				}
				if decodeFused() {
					if widest == nil {
						widest = y
					}
					if !slices.Equal(widest, y) {
						t.Errorf("%v bf16 %v: the result depends on the instructions used", shape, bf16)
					}
				}
			})
		}
	}
}

func TestDecodeNorm(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{5, 16, 64, 576, 100} {
			rng := rand.New(rand.NewPCG(2, uint64(n)))
			const rows = 7
			x, w, y := random(rng, rows*n, false), random(rng, n, false), make([]float32, rows*n)
			DecodeNorm(x, rows, w, 1e-5, y)
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

func TestDecodeSwiGLU(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, n := range []int{3, 16, 37} {
			rng := rand.New(rand.NewPCG(3, uint64(n)))
			const rows = 5
			x, y := random(rng, rows*2*n, false), make([]float32, rows*n)
			x[0], x[1] = 100, -100
			DecodeSwiGLU(x, rows, n, y)
			for i, got := range y {
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

// Rotation, cache and attention together, against the definitions in float64: two sequences that share their first
// block, several rows of one sequence in one step, head dimensions that are and are not whole vectors.
func TestDecodeAttention(t *testing.T) {
	for _, shape := range []CacheShape{{2, 4, 2, 16}, {1, 3, 3, 10}, {1, 4, 1, 64}, {2, 2, 1, 72}} {
		const length = 83
		rng := rand.New(rand.NewPCG(5, uint64(shape.HeadDim)))
		hd, width, layer := shape.HeadDim, shape.width(), shape.Layers-1
		cosines, sines := make([]float32, length*hd/2), make([]float32, length*hd/2)
		for i := range cosines {
			angle := float64(i/(hd/2)) * math.Pow(100, -2*float64(i%(hd/2))/float64(hd))
			cosines[i], sines[i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
		var blocks []Block
		for range (length + BlockPositions - 1) / BlockPositions {
			b, err := shape.NewBlock()
			if err != nil {
				t.Fatal(err)
			}
			defer b.Free()
			blocks = append(blocks, b)
		}
		raw := random(rng, length*width, false)
		want := attentionReference(shape, raw, cosines, sines, length)
		atLevels(t, func(t *testing.T) {
			var alone []float32
			for _, step := range []int{1, 7, length} {
				qkv, y := slices.Clone(raw), make([]float32, length*shape.Heads*hd)
				for from := 0; from < length; from += step {
					to := min(length, from+step)
					c := CacheRows{CacheShape: shape, Blocks: blocks}
					for p := from; p < to; p++ {
						c.Table, c.Position = append(c.Table, 0), append(c.Position, int32(p))
					}
					DecodeRope(c, layer, qkv[from*width:], cosines, sines)
					if err := DecodeAttention(c, layer, qkv[from*width:], y[from*shape.Heads*hd:]); err != nil {
						t.Fatal(err)
					}
				}
				for i, got := range y {
					if math.Abs(float64(got)-want[i]) > 2e-6*(1+math.Abs(want[i])) {
						t.Fatalf("%+v, %d rows a step: y[%d] is %v, not %v", shape, step, i, got, want[i])
					}
				}
				if alone == nil {
					alone = y
				}
				if !slices.Equal(alone, y) {
					t.Errorf("%+v: %d rows a step give other bits than one", shape, step)
				}
			}
		})
		copied, err := shape.NewBlock()
		if err != nil {
			t.Fatal(err)
		}
		defer copied.Free()
		shape.Copy(copied, blocks[0])
	}
}

func attentionReference(s CacheShape, raw, cosines, sines []float32, length int) []float64 {
	hd, half, width := s.HeadDim, s.HeadDim/2, s.width()
	turned := func(p, head, i int) float64 {
		x := raw[p*width+head*hd:]
		c, n := float64(cosines[p*half+i%half]), float64(sines[p*half+i%half])
		if i < half {
			return float64(x[i])*c - float64(x[i+half])*n
		}
		return float64(x[i])*c + float64(x[i-half])*n
	}
	out := make([]float64, length*s.Heads*hd)
	for p := range length {
		for h := range s.Heads {
			kv := h / (s.Heads / s.KVHeads)
			weights, sum := make([]float64, p+1), 0.0
			for t := range weights {
				for i := range hd {
					weights[t] += turned(p, h, i) * turned(t, s.Heads+kv, i)
				}
				weights[t] = math.Exp(weights[t] / math.Sqrt(float64(hd)))
				sum += weights[t]
			}
			for t, w := range weights {
				for i := range hd {
					out[(p*s.Heads+h)*hd+i] += w / sum * float64(raw[t*width+(s.Heads+s.KVHeads+kv)*hd+i])
				}
			}
		}
	}
	return out
}

func BenchmarkPackedProduct(b *testing.B) {
	for _, m := range []int{1, 2, 4, 16, 64, 256} {
		for _, bf16 := range []bool{false, true} {
			b.Run(fmt.Sprintf("rows=%d/bf16=%v", m, bf16), func(b *testing.B) {
				const k, n = 576, 1536
				rng := rand.New(rand.NewPCG(1, 1))
				p := Pack(k, random(rng, n*k, bf16))
				x, y := random(rng, m*k, false), make([]float32, m*n)
				for b.Loop() {
					p.Mul(x, m, y, false)
				}
				b.ReportMetric(2*float64(m)*k*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
