package kernel

import "math"

// NewRotation makes the table of positions 0..positions-1 for heads of twice as many values as there are frequencies. As
// in transformers, angles are rounded to fp32.
func NewRotation(positions int, frequencies []float32) Rotation {
	half := len(frequencies)
	r := Rotation{Dim: 2 * half, Cos: make([]float32, positions*half), Sin: make([]float32, positions*half)}
	for i, frequency := range frequencies {
		for p := range positions {
			angle := float64(float32(p) * frequency)
			r.Cos[p*half+i] = float32(math.Cos(angle))
			r.Sin[p*half+i] = float32(math.Sin(angle))
		}
	}
	return r
}
