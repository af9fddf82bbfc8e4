package student

// slab allocates one buffer for each parameter, end to end: parameters that are multiplied by the same input lie side by
// side in it and are multiplied as one.
func slab(params []*Param) [][]float32 {
	total := 0
	for _, p := range params {
		total += p.Size()
	}
	memory := make([]float32, total)
	out := make([][]float32, len(params))
	for i, p := range params {
		n := p.Size()
		out[i], memory = memory[:n], memory[n:]
	}
	return out
}

// allocate gives parameters their data, all zeros.
func allocate(params []*Param) {
	for i, data := range slab(params) {
		params[i].Data = data
	}
}
