package student

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/gguf"
	"stillhouse/internal/hub"
)

// Load reads a model from a Hugging Face directory: config.json, generation_config.json where it is there, and
// model.safetensors or its shards in F32, BF16 or F16. The parameters are checked against the configuration: an error
// names the file, the tensor, and the shape seen and wanted. A GGUF file, or a directory that is one, is read too.
func Load(dir string) (*Model, error) {
	if file, err := gguf.Find(dir); err != nil {
		return nil, err
	} else if file != "" {
		return loadGGUF(file)
	}
	c, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	weights, err := hub.OpenSafetensors(dir)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	m := &Model{Config: c, Params: Layout(c)}
	if err := checkLayout(dir, weights, m.Params, c); err != nil {
		return nil, err
	}
	allocate(m.Params)
	for _, p := range m.Params {
		t := weights.Tensor(p.Name)
		if err := t.Floats(p.Data); err != nil {
			return nil, err
		}
		if i := notFinite(p.Data); i >= 0 {
			return nil, stillhouse.Invalidf("%s: tensor %s: element %d is %v: the model that was saved had diverged", t.File, p.Name, i, p.Data[i])
		}
	}
	return m, nil
}

// notFinite is the place of the first value that is infinite or not a number, -1 when there is none.
func notFinite(data []float32) int {
	return slices.IndexFunc(data, func(x float32) bool { return math.Float32bits(x)>>23&0xff == 0xff })
}

// checkLayout compares what the files hold with what the configuration asks for, before anything is allocated.
func checkLayout(dir string, weights *hub.Safetensors, params []*Param, c Config) error {
	wanted := make(map[string]bool, len(params))
	for _, p := range params {
		wanted[p.Name] = true
		t := weights.Tensor(p.Name)
		if t == nil {
			return stillhouse.Invalidf("%s: tensor %s is missing: config.json asks for one of shape %v; is config.json the one of these weights?", dir, p.Name, p.Shape)
		}
		if !slices.Equal(t.Shape, p.Shape) {
			return stillhouse.Invalidf("%s: tensor %s has shape %v, config.json asks for %v", t.File, p.Name, t.Shape, p.Shape)
		}
	}
	for _, name := range weights.Names() {
		t := weights.Tensor(name)
		switch {
		case wanted[name]:
		case name == "lm_head.weight" && c.TieWordEmbeddings:
			// Some checkpoints store the tied head too. transformers reads the embedding only, and so do we.
			if want := []int{c.VocabSize, c.HiddenSize}; !slices.Equal(t.Shape, want) {
				return stillhouse.Invalidf("%s: tensor %s has shape %v, config.json asks for %v", t.File, name, t.Shape, want)
			}
		case strings.HasSuffix(name, ".rotary_emb.inv_freq"):
			// Old Llama checkpoints store this table; it follows from rope_theta.
		default:
			return stillhouse.Invalidf("%s: tensor %s of shape %v is not part of a %s with %s", t.File, name, t.Shape, c.Architecture, describe(c))
		}
	}
	return nil
}

func describe(c Config) string {
	head := "a head of its own"
	if c.TieWordEmbeddings {
		head = "a tied head"
	}
	return fmt.Sprintf("%d layers and %s, as config.json says", c.NumHiddenLayers, head)
}
