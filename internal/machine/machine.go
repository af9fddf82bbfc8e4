// Package machine says what this machine has for a training: how fast it multiplies, how much memory is left, and what
// it is.
package machine

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"stillhouse/internal/kernel"
)

// A Description is what a benchmark says of the machine.
type Description struct {
	CPU          string  `json:"cpu"`
	Cores        int     `json:"cores"`
	Threads      int     `json:"threads"`     // that products use
	Instructions string  `json:"instruction"` // avx512, avx2 or base
	Products     string  `json:"products"`    // what computes them: amx or openblas
	MemoryMiB    int64   `json:"memory_mib"`
	GEMM         float64 `json:"gemm_gflops"`
}

// Describe describes the machine, with its rate of products measured now.
func Describe() Description {
	d := Description{
		Cores: runtime.NumCPU(), Threads: kernel.Threads(), Instructions: kernel.InstructionSet(), Products: kernel.Products(),
		MemoryMiB: field("proc/meminfo", "MemTotal:") >> 10, GEMM: MeasureGEMM(time.Second),
	}
	for _, line := range lines("proc/cpuinfo") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			d.CPU = strings.TrimSpace(value)
			break
		}
	}
	return d
}

var once = sync.OnceValue(func() float64 { return MeasureGEMM(time.Second / 3) })

// GEMMRate is the rate of bare fp32 products on this machine, in GFLOP/s on all threads, measured for a third of a second
// when it is first asked for.
func GEMMRate() float64 { return once() }

// MeasureGEMM measures the mean rate of a bare fp32 product, [1024, 576] times [576, 1536] (a pass of training through a
// projection of SmolLM2-135M), for about d, in GFLOP/s.
func MeasureGEMM(d time.Duration) float64 {
	const m, k, n = 1024, 576, 1536
	a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
	r := rand.New(rand.NewPCG(1, 2))
	for _, x := range [][]float32{a, b} {
		for i := range x {
			x[i] = float32(r.NormFloat64()) // numbers that bf16 holds, and zeros, are multiplied faster than most
		}
	}
	product := func() { kernel.Gemm(false, false, m, n, k, 1, a, k, b, n, 0, c, n) }
	for range 3 {
		product()
	}
	began, times := time.Now(), 0
	for took := time.Duration(0); ; took = time.Since(began) {
		if took >= d && times > 0 {
			return 2 * m * k * n * float64(times) / 1e9 / took.Seconds()
		}
		product()
		times++
	}
}
