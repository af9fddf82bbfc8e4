package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Rotation, cache and attention together, against the definitions in float64: two sequences that share their first
// block, several rows of one sequence in one step, head dimensions that are and are not whole vectors.
func TestDecodeAttention(t *testing.T) {
	for _, shape := range []CacheShape{{2, 4, 2, 16}, {1, 3, 3, 10}, {1, 4, 1, 64}, {2, 2, 1, 72}, {1, 7, 1, 32}} {
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
		p := program(t, shape, Widths{BufferQKV: width, BufferAttended: shape.Heads * hd},
			Op{Kind: OpRope, In: BufferQKV, Layer: layer}, Op{Kind: OpAttend, In: BufferQKV, Out: BufferAttended, Layer: layer})
		if err := p.SetRotation(cosines, sines); err != nil {
			t.Fatal(err)
		}
		want := attentionReference(shape, raw, cosines, sines, length)
		atLevels(t, func(t *testing.T) {
			var alone []float32
			for _, step := range []int{1, 7, length} {
				var y []float32
				for from := 0; from < length; from += step {
					to := min(length, from+step)
					var s Step
					s.Add(make([]int32, to-from), from, blocks, false)
					if err := p.reserve(to-from, 0, len(blocks)); err != nil {
						t.Fatal(err)
					}
					copy(p.Rows(BufferQKV, to-from), raw[from*width:to*width])
					if err := p.Run(&s); err != nil {
						t.Fatal(err)
					}
					y = append(y, p.Rows(BufferAttended, to-from)...)
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
