package student

import "strings"

// Work is the number of floating-point operations of the matrix products of training so many tokens, of which labels are
// trained: 2 for each weight that multiplies a token, and twice that backward. The head multiplies labels alone. The
// products within attention, a few in a hundred at a thousand tokens, are not counted.
//
// Where the model has an adapter, its own weights have no gradient: 4 for each of them, 6 for each of the adapter's.
func (m *Model) Work(tokens, labels int64) float64 {
	layers, head := 0, m.Config.VocabSize*m.Config.HiddenSize
	for _, p := range m.Params {
		if strings.HasPrefix(p.Name, "model.layers.") && len(p.Shape) == 2 {
			layers += p.Size()
		}
	}
	times, extra := 6.0, 0
	if m.Adapter != nil {
		times = 4
		for _, p := range m.Adapter.Params {
			if len(p.Shape) == 2 {
				extra += p.Size()
			}
		}
	}
	return (times*float64(layers)+6*float64(extra))*float64(tokens) + times*float64(head)*float64(labels)
}
