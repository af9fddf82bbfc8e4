package student

import "strings"

// Work is the number of floating-point operations of the matrix products of training so many tokens, of which labels are
// trained: 2 for each weight that multiplies a token, and twice that backward. The head multiplies labels alone. The
// products within attention, a few in a hundred at a thousand tokens, are not counted.
func (m *Model) Work(tokens, labels int64) float64 {
	layers, head := 0, m.Config.VocabSize*m.Config.HiddenSize
	for _, p := range m.Params {
		if strings.HasPrefix(p.Name, "model.layers.") && len(p.Shape) == 2 {
			layers += p.Size()
		}
	}
	return 6 * (float64(layers)*float64(tokens) + float64(head)*float64(labels))
}
