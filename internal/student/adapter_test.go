package student

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse/internal/kernel"
)

const sft = "../../testdata/parity/train/sft/"

var goldenAdapters = map[string]string{"g-lora": "tiny-llama", "g-rslora": "tiny-llama", "g-dora": "tiny-llama", "m-qwen3-lora": "tiny-qwen3"}

// firstRow is row 0 of a golden run, its first 24 tokens.
func firstRow(t *testing.T, run string) []int32 {
	var batch struct {
		Rows []int
		IDs  [][]int32 `json:"input_ids"`
	}
	for _, line := range strings.Split(read(t, sft+run+"/batches.jsonl"), "\n") {
		require.NoError(t, json.Unmarshal([]byte(line), &batch))
		if i := slices.Index(batch.Rows, 0); i >= 0 {
			return batch.IDs[i][:24]
		}
	}
	t.Fatal("row 0 is in no batch")
	return nil
}

// The logits of PEFT with the adapter beside the weights and merged into them, and the merged weights themselves.
func TestAdapterGoldens(t *testing.T) {
	for run, base := range goldenAdapters {
		t.Run(run, func(t *testing.T) {
			m := load(t, base)
			a, err := LoadAdapter(sft + run + "/adapter_final")
			require.NoError(t, err)
			require.NoError(t, m.Attach(a))
			ids := firstRow(t, run)
			want := tensors(t, sft+run+"/final_logits.safetensors")
			got, err := m.Logits(Batch{Tokens: ids, Lengths: []int{len(ids)}})
			require.NoError(t, err)
			beside := maxDifference(t, got, want("logits_adapter"))
			require.LessOrEqual(t, beside, 1e-4)

			before := copied(data(m.Params))
			merged, err := m.Merged()
			require.NoError(t, err)
			require.Nil(t, merged.Adapter)
			require.Equal(t, before, data(m.Params), "merging a copy changed the base")
			got, err = merged.Logits(Batch{Tokens: ids, Lengths: []int{len(ids)}})
			require.NoError(t, err)
			into := maxDifference(t, got, want("logits_merged"))
			require.LessOrEqual(t, into, 1e-4)
			t.Logf("logits: max |Δ| %.2g beside, %.2g merged", beside, into)

			attention := tensors(t, sft+run+"/merged_layer0_attention.safetensors")
			for _, p := range merged.Params {
				if strings.HasPrefix(p.Name, "model.layers.0.self_attn.") && strings.HasSuffix(p.Name, "_proj.weight") {
					require.LessOrEqual(t, maxDifference(t, p.Data, attention(p.Name)), 1e-6, p.Name)
				}
			}
			plain := load(t, base)
			require.NoError(t, a.Merge(plain))
			require.Equal(t, data(merged.Params), data(plain.Params))
			require.Equal(t, logitsOf(t, plain, WeightsF32, ids, 5), logitsOf(t, merged, WeightsF32, ids, 24))
		})
	}
}

func data(params []*Param) (out [][]float32) {
	for _, p := range params {
		out = append(out, p.Data)
	}
	return out
}

// A saved adapter is read back as it was, and its configuration says what PEFT's says.
func TestAdapterSaved(t *testing.T) {
	for run, base := range goldenAdapters {
		m := load(t, base)
		a, err := LoadAdapter(sft + run + "/adapter_final")
		require.NoError(t, err)
		require.NoError(t, m.Attach(a))
		dir := t.TempDir()
		for range 2 {
			require.NoError(t, a.Save(dir))
		}
		back, err := LoadAdapter(dir)
		require.NoError(t, err)
		require.Equal(t, a.Config, back.Config)
		require.NoError(t, back.Fits(m))
		require.Equal(t, a.Params, back.Params)
		var ours, peft map[string]any
		require.NoError(t, json.Unmarshal([]byte(read(t, dir+"/adapter_config.json")), &ours))
		require.NoError(t, json.Unmarshal([]byte(read(t, sft+run+"/adapter_final/adapter_config.json")), &peft))
		for key, v := range ours {
			require.Equal(t, peft[key], v, "%s: %s", run, key)
		}
	}
}

// adaptedModel is a model of an odd shape with an adapter whose B is not 0.
func adaptedModel(t *testing.T, change func(*AdapterConfig)) *Model {
	m := New(odd, 3, 0.3)
	c := AdapterConfig{R: 3, Alpha: 5, TargetModules: Modules{Pattern: allLinear}, Init: "false"}
	change(&c)
	a, err := NewAdapter(c, m, 7)
	require.NoError(t, err)
	require.NoError(t, m.Attach(a))
	r := rand.New(rand.NewPCG(9, 9))
	for _, p := range a.Params {
		if strings.HasSuffix(p.Name, suffixMagnitude) {
			for i := range p.Data {
				p.Data[i] *= float32(1 + 0.3*r.NormFloat64())
			}
		}
	}
	return m
}

// The loss along each parameter's gradient must change as the gradient says. DoRA's A and B are left out: their gradient
// takes the norms for constants, and is held against PEFT's runs and in TestAdaptedOp.
func TestAdapterGradient(t *testing.T) {
	for name, change := range map[string]func(*AdapterConfig){
		"all":       func(c *AdapterConfig) {},
		"rslora":    func(c *AdapterConfig) { c.RSLoRA = true },
		"some":      func(c *AdapterConfig) { c.TargetModules = Modules{Names: []string{"q_proj", "v_proj", "down_proj"}} },
		"dropout":   func(c *AdapterConfig) { c.Dropout = 0.4 },
		"dora":      func(c *AdapterConfig) { c.DoRA = true },
		"dora drop": func(c *AdapterConfig) { c.DoRA, c.Dropout = true, 0.4 },
		"one layer": func(c *AdapterConfig) {
			c.TargetModules, c.LayersToTransform = Modules{Names: []string{"up_proj", "k_proj"}}, []int{1}
		},
		"ranks": func(c *AdapterConfig) {
			c.RankPattern, c.AlphaPattern = map[string]int{"k_proj": 2, "layers.1.mlp.up_proj": 4}, map[string]float64{"o_proj": 1}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := adaptedModel(t, change)
			base := copied(data(m.Params))
			b := randomBatch(rand.New(rand.NewPCG(4, 4)), odd, 2, 1, 13, 2, 0, 30)
			g := graph(t, m, 50)
			require.Len(t, g.Gradients(), len(m.Adapter.Params))
			g.Seed(11)
			accumulate(t, g, b, 1)
			grads := copied(g.Gradients())
			for i, p := range g.Trainable() {
				if m.Adapter.Config.DoRA && !strings.HasSuffix(p.Name, suffixMagnitude) {
					continue
				}
				size := math.Sqrt(kernel.SquaredNorm(grads[i]))
				require.NotZero(t, size, p.Name)
				before := slices.Clone(p.Data)
				loss := func(h float64) float64 {
					for j := range p.Data {
						p.Data[j] = float32(float64(before[j]) + h*float64(grads[i][j])/size)
					}
					return accumulate(t, g, b, 1).Loss // with the same elements dropped
				}
				const h = 2e-3
				slope := (8*(loss(h)-loss(-h)) - (loss(2*h) - loss(-2*h))) / (12 * h)
				copy(p.Data, before)
				require.InEpsilon(t, size, slope, 5e-3, p.Name)
			}
			require.Equal(t, base, data(m.Params), "the base changed")
		})
	}
}

// An adapted op against the formulas in fp64: result and gradients, with and without dropout, DoRA, and A in one piece.
func TestAdaptedOp(t *testing.T) {
	for _, dora := range []bool{false, true} {
		for _, dropout := range []float64{0, 0.4} {
			for _, apart := range []bool{false, true} {
				m := adaptedModel(t, func(c *AdapterConfig) { c.DoRA, c.Dropout = dora, dropout })
				g := newBuilder(m, 9, slab(m.Adapter.Params), 0, new(memory))
				weights := g.weights("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight")
				x := g.embed(g.weight("model.embed_tokens.weight"))
				o := g.adaptedLinear(x, nil, weights, nil, g.adapted(weights)).Op().(*adaptedOp)
				require.NoError(t, g.err)
				require.NotNil(t, o.together, "the A of q, k and v do not lie together")
				if apart {
					o.together = nil
				}
				o.tokens, o.gradients, o.seed = make([]int32, 9), true, 5
				checkAdaptedOp(t, o)
			}
		}
	}
}

func checkAdaptedOp(t *testing.T, o *adaptedOp) {
	r := rand.New(rand.NewPCG(2, 3))
	rows := len(o.tokens)
	x, dy := make([]float32, rows*o.in), make([]float32, rows*o.wide)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for i := range dy {
		dy[i] = float32(r.NormFloat64())
	}
	y, dx := make([]float32, rows*o.wide), make([]float32, rows*o.in)
	o.out = dense(y, rows, o.wide)
	_, err := o.Do(dense(x, rows, o.in))
	require.NoError(t, err)
	o.adapterGradients(dy, x)
	o.inputGradient(dy, dx)

	wantDX := make([]float64, len(dx))
	for _, p := range o.parts {
		mask := make([]float32, len(x))
		for i := range mask {
			mask[i] = 1
		}
		if o.dropout > 0 {
			kernel.Dropout(mask, mask, len(mask), o.dropout, p.key(o.seed), false)
		}
		da, db, dm := make([]float64, len(p.da)), make([]float64, len(p.db)), make([]float64, p.out)
		for t1 := range rows {
			xd := make([]float64, o.in)
			for k := range xd {
				xd[k] = float64(x[t1*o.in+k]) * float64(mask[t1*o.in+k])
			}
			h := make([]float64, p.r)
			for i := range h {
				for k := range xd {
					h[i] += float64(p.a.Data[i*o.in+k]) * xd[k]
				}
			}
			dh := make([]float64, p.r)
			for j := range p.out {
				var wx, wxd, bh, square float64
				for k := range xd {
					w := float64(p.base[j*o.in+k])
					wx += w * float64(x[t1*o.in+k])
					wxd += w * xd[k]
					v := w
					for i := range h {
						v += float64(p.scale) * float64(p.b.Data[j*p.r+i]) * float64(p.a.Data[i*o.in+k])
					}
					square += v * v
				}
				for i := range h {
					bh += float64(p.scale) * float64(p.b.Data[j*p.r+i]) * h[i]
				}
				gain := 1.0
				if o.dora {
					gain = float64(p.magnitude.Data[j]) / math.Sqrt(square)
				}
				want := wx + (gain-1)*wxd + gain*bh
				require.InDelta(t, want, y[t1*o.wide+p.at+j], 2e-5)
				d := float64(dy[t1*o.wide+p.at+j])
				dm[j] += d * (wxd + bh) / math.Sqrt(square)
				for i := range h {
					db[j*p.r+i] += d * gain * float64(p.scale) * h[i]
					dh[i] += d * gain * float64(p.scale) * float64(p.b.Data[j*p.r+i])
				}
				for k := range xd {
					wantDX[t1*o.in+k] += d * float64(p.base[j*o.in+k]) * (1 + (gain-1)*float64(mask[t1*o.in+k]))
				}
			}
			for i := range h {
				for k := range xd {
					da[i*o.in+k] += dh[i] * xd[k]
					wantDX[t1*o.in+k] += dh[i] * float64(p.a.Data[i*o.in+k]) * float64(mask[t1*o.in+k])
				}
			}
		}
		for i := range da {
			require.InDelta(t, da[i], p.da[i], 5e-5, "dA")
		}
		for i := range db {
			require.InDelta(t, db[i], p.db[i], 5e-5, "dB")
		}
		if o.dora {
			for i := range dm {
				require.InDelta(t, dm[i], p.dm[i], 5e-5, "dm")
			}
		}
	}
	for i := range dx {
		require.InDelta(t, wantDX[i], dx[i], 5e-5, "dx")
	}
}

// Dropout follows from the seed alone and is off in an evaluation.
func TestAdapterDropout(t *testing.T) {
	m := adaptedModel(t, func(c *AdapterConfig) { c.Dropout = 0.5 })
	b := randomBatch(rand.New(rand.NewPCG(4, 4)), odd, 13, 30)
	g := graph(t, m, 50)
	loss := func(seed uint64) float64 {
		g.Seed(seed)
		return accumulate(t, g, b, 1).Loss
	}
	require.Equal(t, loss(1), loss(1))
	require.NotEqual(t, loss(1), loss(2))
	got, err := g.Evaluate(b)
	require.NoError(t, err)
	m.Adapter.Config.Dropout = 0
	plain, err := graph(t, m, 50).Evaluate(b)
	require.NoError(t, err)
	require.Equal(t, plain.Loss, got.Loss)
}

// No backward pass runs below the first adapter, and none of the base's weights has a gradient.
func TestBackwardEndsAtTheFirstAdapter(t *testing.T) {
	ops := func(change func(*AdapterConfig)) (names []string) {
		m := adaptedModel(t, change)
		g := &Graph{model: m, grads: slab(m.Adapter.Params)}
		b, _, err := g.build(20, new(memory))
		require.NoError(t, err)
		for _, n := range b.graph.AllNodes() {
			if n.Op() != nil {
				names = append(names, n.Op().String())
			}
		}
		return names
	}
	backward := func(names []string) (out []string) {
		for _, name := range names {
			if strings.Contains(name, ".d") {
				out = append(out, name)
			}
		}
		return out
	}
	everywhere := backward(ops(func(*AdapterConfig) {}))
	for _, name := range everywhere {
		require.NotContains(t, name, ".d model.", "the base has a gradient")
		require.NotContains(t, name, "embed", "the embedding has a backward pass")
		require.NotContains(t, name, "norm 2.0.dx", "the first norm has a backward pass")
	}
	last := backward(ops(func(c *AdapterConfig) {
		c.TargetModules, c.LayersToTransform = Modules{Names: []string{"down_proj"}}, []int{1}
	}))
	const down = "adapted 19.0.d base_model.model.model.layers.1.mlp.down_proj.lora_"
	require.ElementsMatch(t, []string{"loss 21.0.dx", "norm 20.0.dx", down + "A.weight", down + "B.weight"}, last)
}

func TestAdapterInit(t *testing.T) {
	m := load(t, "tiny-llama")
	for init, want := range map[string]float64{"true": 1 / math.Sqrt(3*64), "gaussian": 1.0 / 8, "false": 1 / math.Sqrt(3*64)} {
		c := AdapterConfig{R: 8, Alpha: 16, TargetModules: Modules{Names: []string{"q_proj", "up_proj"}}, Init: init, DoRA: true}
		a, err := NewAdapter(c, m, 1)
		require.NoError(t, err)
		again, err := NewAdapter(c, m, 1)
		require.NoError(t, err)
		require.Equal(t, a, again)
		other, err := NewAdapter(c, m, 2)
		require.NoError(t, err)
		require.NotEqual(t, a.Params, other.Params)
		for _, p := range a.Params {
			rms := math.Sqrt(kernel.SquaredNorm(p.Data) / float64(len(p.Data)))
			switch {
			case strings.HasSuffix(p.Name, suffixA):
				require.InEpsilon(t, want, rms, 0.15, p.Name)
			case strings.HasSuffix(p.Name, suffixB) && init == "false":
				require.InEpsilon(t, 1/math.Sqrt(3*8), rms, 0.15, p.Name)
			case strings.HasSuffix(p.Name, suffixB):
				require.Zero(t, rms, p.Name)
			}
		}
		if init != "true" {
			continue
		}
		// An adapter that begins changes nothing.
		ids := []int32{5, 6, 7, 8, 9}
		plain, err := m.Logits(Batch{Tokens: ids, Lengths: []int{5}})
		require.NoError(t, err)
		n := *m
		require.NoError(t, n.Attach(a))
		got, err := n.Logits(Batch{Tokens: ids, Lengths: []int{5}})
		require.NoError(t, err)
		require.LessOrEqual(t, maxDifference(t, got, plain), 1e-5)
	}
}
