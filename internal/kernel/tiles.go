package kernel

/*
#include "tiles.h"
*/
import "C"

import (
	"sync"
	"unsafe"
)

// tiles says whether products are computed on the processor's matrix unit.
var tiles = C.sh_tiles() != 0

// Products names what computes matrix products on this processor: amx where it has that matrix unit and the system lets
// it be used, else openblas. On amx every float is taken as the sum of three bf16 and the products that matter in fp32
// are added in fp32: as exact as a BLAS, and faster than OpenBLAS with AVX-512 where no other program is on the core
// (BenchmarkGemm). Small products stay with OpenBLAS.
func Products() string {
	if tiles {
		return "amx"
	}
	return "openblas"
}

// UseTiles says whether products may be computed on the matrix unit. It returns what was so before. It must not be called
// while a kernel runs.
func UseTiles(on bool) (before bool) {
	before = tiles
	tiles = on && C.sh_tiles() != 0
	return before
}

const (
	panel = C.SH_TILES_PANEL
	// What a thread multiplies at once, lines and depth of its own side, stays in its cache.
	linesAtOnce = 192
	depthAtOnce = 576
	// sharedAtOnce bounds the memory of the side that all threads read, in floats, unless lines of depthAtOnce take more.
	sharedAtOnce = 4 << 20
)

// A side is an operand of a product. Its lines are rows of op(A) or columns of op(B).
type side struct {
	x              []float32
	lines, ld      int
	trans, columns bool
	alpha          float32
}

// pack packs some lines over some depth.
func (s side) pack(line, lines, from, depth int, to []float32) {
	at := line*s.ld + from
	if s.trans != s.columns { // its lines lie across
		at = from*s.ld + line
	}
	C.sh_tiles_pack(flag(s.columns), flag(s.trans), ptr(s.x[at:]), C.long(s.ld), C.long(lines), C.long(depth), C.float(s.alpha), unsafe.Pointer(&to[0]))
}

// packedSize is the memory that packed lines take, in floats.
func packedSize(lines, depth int) int {
	whole := func(n int) int { return (n + panel - 1) / panel * panel }
	return whole(lines) * whole(depth) * C.SH_TILES_BYTES / 4
}

// gemmOnTiles is [Gemm] on the matrix unit. The shorter side is packed once, by all threads for all. The longer one is cut into
// blocks, each packed and multiplied by the thread that is free first: where one has to share its core with another program, the
// others do more. Every element of C is summed in the same order whoever does it and however it is cut.
func gemmOnTiles(a, b side, k int, beta float32, c []float32, ldc int) {
	all, own := b, a
	if b.lines > a.lines {
		all, own = a, b
	}
	pieces := (k + depthAtOnce - 1) / depthAtOnce // in depth
	depth := ((k+pieces-1)/pieces + panel - 1) / panel * panel
	size := packedSize(all.lines, depth)
	atOnce := min(pieces, max(1, sharedAtOnce/size))
	packed := sharedSides.take(atOnce * size)
	defer sharedSides.give(packed)

	blocks := cutLines(own.lines)
	for first := 0; first < k; first += atOnce * depth {
		deep := min(atOnce*depth, k-first)
		const lines = 4 * panel
		groups := (all.lines + lines - 1) / lines
		whoIsFree(groups*((deep+depth-1)/depth), func(i int) {
			line, piece := i%groups*lines, i/groups
			d := min(depth, deep-piece*depth)
			all.pack(line, min(lines, all.lines-line), first+piece*depth, d, packed[piece*size+packedSize(line, d):])
		})
		whoIsFree(len(blocks)-1, func(i int) {
			line, lines := blocks[i], blocks[i+1]-blocks[i]
			at, m, n := line*ldc, lines, b.lines
			if own.columns {
				at, m, n = line, a.lines, lines
			}
			if first == 0 && beta != 0 && beta != 1 {
				scaleRows(c[at:], m, n, ldc, beta)
			}
			block := ownSides.take(packedSize(linesAtOnce, depthAtOnce))
			defer ownSides.give(block)
			for from := 0; from < deep; from += depth {
				d := min(depth, deep-from)
				own.pack(line, lines, first+from, d, block)
				rows, columns := block, packed[from/depth*size:]
				if own.columns {
					rows, columns = columns, rows
				}
				C.sh_tiles_multiply(flag(own.columns), C.long(m), C.long(n), C.long(d), unsafe.Pointer(&rows[0]), unsafe.Pointer(&columns[0]),
					ptr(c[at:]), C.long(ldc), flag(first+from > 0 || beta != 0))
			}
		})
	}
}

// cutLines cuts lines into blocks: where each begins, and the end. The last are small, so that all threads end at about one time.
func cutLines(lines int) (cut []int) {
	for at := 0; at < lines; {
		cut = append(cut, at)
		fair := linesAtOnce
		if threads > 1 {
			fair = (lines - at) / threads / panel * panel
		}
		at += min(lines-at, max(2*panel, min(linesAtOnce, fair)))
	}
	return append(cut, lines)
}

func scaleRows(c []float32, m, n, ldc int, by float32) {
	for i := range m {
		for j := range n {
			c[i*ldc+j] *= by
		}
	}
}

// A pool is memory for packed sides that is not in use. It is kept for good, in the largest size that was wanted.
type pool struct {
	sync.Mutex
	free [][]float32
}

var sharedSides, ownSides pool

func (p *pool) take(size int) []float32 {
	p.Lock()
	defer p.Unlock()
	if n := len(p.free); n > 0 {
		last := p.free[n-1]
		p.free = p.free[:n-1]
		if len(last) >= size {
			return last
		}
	}
	return Floats(size)
}

func (p *pool) give(memory []float32) {
	p.Lock()
	defer p.Unlock()
	p.free = append(p.free, memory)
}
