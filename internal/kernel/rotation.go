package kernel

import "math"

// NewRotation makes the table of positions 0..positions-1 for heads of dim, an even number.
func NewRotation(positions, dim int, theta float64) Rotation {
	half := dim / 2
	r := Rotation{Dim: dim, Cos: make([]float32, positions*half), Sin: make([]float32, positions*half)}
	for i := range half {
		frequency := 1 / float32(math.Pow(theta, float64(float32(2*i)/float32(dim))))
		for p := range positions {
			angle := float64(float32(p) * frequency)
			r.Cos[p*half+i] = float32(math.Cos(angle))
			r.Sin[p*half+i] = float32(math.Sin(angle))
		}
	}
	return r
}
