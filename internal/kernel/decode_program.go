package kernel

/*
#include <stdlib.h>
#include "decode.h"
*/
import "C"

import (
	"errors"
	"slices"
	"sync"
	"unsafe"
)

// A Buffer is one of the matrices of a step, [rows, its width].
type Buffer int32

const (
	BufferX        Buffer = C.SHD_X // the residual stream
	BufferNormed   Buffer = C.SHD_NORMED
	BufferQKV      Buffer = C.SHD_QKV // all heads' queries, keys, values
	BufferAttended Buffer = C.SHD_ATTENDED
	BufferGates    Buffer = C.SHD_GATES // the gate's, then the up projection's
	BufferActive   Buffer = C.SHD_ACTIVE
	BufferLogits   Buffer = C.SHD_LOGITS // of the rows that are wanted
	buffers               = C.SHD_BUFFERS
)

// An OpKind is what an operation does with a row of In; the result is a row of Out.
type OpKind int32

const (
	OpEmbed   OpKind = C.SHD_EMBED   // the row's token's row of Matrix
	OpNorm    OpKind = C.SHD_NORM    // A · x / √(mean(x²) + Eps)
	OpProduct OpKind = C.SHD_PRODUCT // Matrix · x + A
	OpRope    OpKind = C.SHD_ROPE    // norms queries by A and keys by B, unless they are none; turns both in place; stores keys and values in the cache
	OpAttend  OpKind = C.SHD_ATTEND  // attention to the row's sequence up to the row's position
	OpGate    OpKind = C.SHD_GATE    // silu(gate) · up
	OpRound   OpKind = C.SHD_ROUND   // rounds the row for a product with Q8_0
	OpLoss    OpKind = C.SHD_LOSS    // the cross-entropy of the row's label
)

// An Op is one operation of a program. A product with Q8_0 takes rows that were rounded to 16 bits, 32 values to a scale:
// by the operation before it, whose Round is set, or by an [OpRound].
type Op struct {
	Kind    OpKind
	In, Out Buffer
	Layer   int
	Add     bool // a product is added to what Out holds
	Wanted  bool // only the rows that are wanted
	Round   bool // the result is rounded too
	Eps     float32
	Matrix  *Packed
	A, B    Vector
}

// A Step is what a program is run on: rows, each a token of some sequence. Row i is at Position[i] of the sequence whose
// blocks begin at Blocks[Table[i]].
type Step struct {
	Tokens, Table, Position []int32
	Blocks                  []Block
	Wanted                  []int32 // rows whose logits are wanted, rising
	Labels                  []int32 // of the wanted rows, when the program computes losses
}

// Reset empties the step and keeps its memory.
func (s *Step) Reset() {
	s.Tokens, s.Table, s.Position, s.Blocks = s.Tokens[:0], s.Table[:0], s.Position[:0], s.Blocks[:0]
	s.Wanted, s.Labels = s.Wanted[:0], s.Labels[:0]
}

// Add appends tokens of a sequence of blocks, the first at a position; the last one's logits may be wanted.
func (s *Step) Add(tokens []int32, position int, blocks []Block, wanted bool) {
	for i := range tokens {
		s.Table = append(s.Table, int32(len(s.Blocks)))
		s.Position = append(s.Position, int32(position+i))
	}
	s.Blocks = append(s.Blocks, blocks...)
	s.Tokens = append(s.Tokens, tokens...)
	if wanted {
		s.Wanted = append(s.Wanted, int32(len(s.Tokens)-1))
	}
}

// Widths are the widths of the buffers.
type Widths [buffers]int

// A Program is a model's forward pass: operations that are done in turn on the rows of a step, each by all threads. It
// allocates only when a step is larger than those before. It is not safe for concurrent use.
type Program struct {
	c     *C.shd_program
	shape CacheShape
	work  int // multiplications of a row
	deep  int // values of the longest row that is rounded
	vocab int

	threads           int // that the pieces are cut for
	help              []chan struct{}
	helpers           sync.WaitGroup
	memory            []unsafe.Pointer // of the places below
	rows, picks       int              // that there is room for
	blocks, positions int
}

// The places of a program's memory: the buffers, and then these.
const (
	placeRounded = buffers + iota
	placeScale
	placeTokens
	placeTable
	placePosition
	placeFirst
	placeCount
	placePick
	placeLabel
	placeLoss
	placeBlocks
	placeCosines
	placeSines
	placeScores
	placeClaims
	placeDone
	places
)

const (
	maxThreads = 64
	spanRows   = 16      // rows of one sequence whose attention is one piece
	leastWork  = 1 << 20 // multiplications that are worth a second thread
)

var errNoMemory = errors.New("no memory is left to generate with: generate fewer samples at once")

// NewProgram makes a program of operations, for a cache of a shape. Close it after use, before its weights are freed.
func NewProgram(shape CacheShape, widths Widths, ops []Op) (*Program, error) {
	p := &Program{shape: shape, memory: make([]unsafe.Pointer, places)}
	p.c = (*C.shd_program)(C.calloc(1, C.sizeof_shd_program))
	var list *C.shd_op
	if p.c != nil {
		list = (*C.shd_op)(C.calloc(C.size_t(len(ops)), C.sizeof_shd_op))
		p.c.ops, p.c.n = list, C.int32_t(len(ops))
	}
	if list == nil {
		p.Close()
		return nil, errNoMemory
	}
	for i, o := range ops {
		to := C.shd_op{kind: C.int32_t(o.Kind), in: C.int32_t(o.In), out: C.int32_t(o.Out), layer: C.int32_t(o.Layer),
			add: flag(o.Add), wanted: flag(o.Wanted), round: flag(o.Round), eps: C.float(o.Eps), a: o.A.data, b: o.B.data}
		if o.Matrix != nil {
			to.w = o.Matrix.m
			if o.Kind == OpEmbed {
				p.vocab = o.Matrix.Rows()
			} else {
				p.work += o.Matrix.Rows() * int(to.w.k)
			}
		}
		if o.Round || o.Kind == OpRound {
			of := o.Out
			if o.Kind == OpRound {
				of = o.In
			}
			p.deep = max(p.deep, widths[of])
		}
		unsafe.Slice(list, len(ops))[i] = to
	}
	s := &p.c.step
	for i, w := range widths {
		s.width[i] = C.int32_t(w)
	}
	s.heads, s.kv_heads, s.head_dim = C.int32_t(shape.Heads), C.int32_t(shape.KVHeads), C.int32_t(shape.HeadDim)
	return p, nil
}

// Close frees the program's memory and ends its threads.
func (p *Program) Close() {
	for _, c := range p.help {
		close(c)
	}
	p.help = nil
	p.helpers.Wait() // they hold the memory that is freed here
	if p.c == nil {
		return
	}
	for _, m := range p.memory {
		C.free(m)
	}
	C.free(unsafe.Pointer(p.c.ops))
	C.free(unsafe.Pointer(p.c))
	p.c = nil
}

// allot makes one of the program's places large enough; what it held is lost.
func (p *Program) allot(place int, bytes int) error {
	C.free(p.memory[place])
	p.memory[place] = C.aligned_alloc(64, C.size_t(aligned(max(bytes, 64))))
	if p.memory[place] == nil {
		return errNoMemory
	}
	clear(unsafe.Slice((*byte)(p.memory[place]), bytes)) // padding must not hold what is not a number
	return nil
}

func at[T any](p *Program, place int) *T { return (*T)(p.memory[place]) }

func slot[T any](p *Program, place, n int) []T { return unsafe.Slice(at[T](p, place), n) }

// SetRotation sets the tables of the rotary embedding, [positions, HeadDim/2].
func (p *Program) SetRotation(cosines, sines []float32) error {
	for place, table := range map[int][]float32{placeCosines: cosines, placeSines: sines} {
		if err := p.allot(place, 4*len(table)); err != nil {
			return err
		}
		copy(slot[float32](p, place, len(table)), table)
	}
	p.positions = len(cosines) / (p.shape.HeadDim / 2)
	p.c.step.cosines, p.c.step.sines = at[C.float](p, placeCosines), at[C.float](p, placeSines)
	return p.reserveScores()
}

// reserveScores makes room for the scores of attention of every thread, to the last position.
func (p *Program) reserveScores() error {
	s := &p.c.step
	s.pitch = C.int64_t((p.positions+BlockPositions-1)/BlockPositions*BlockPositions + BlockPositions)
	err := p.allot(placeScores, 4*p.threads*C.SHD_QUERIES*int(s.pitch))
	s.scores = at[C.float](p, placeScores)
	return err
}

// reserve makes room for a step.
func (p *Program) reserve(rows, picks, blocks int) error {
	s := &p.c.step
	type need struct{ place, bytes int }
	var needs []need
	if rows > p.rows {
		p.rows = max(rows, min(2*p.rows, rows+64))
		for b := range buffers {
			if b != C.SHD_LOGITS {
				needs = append(needs, need{b, 4 * p.rows * int(s.width[b])})
			}
		}
		deep := (p.deep + C.SHD_QUANT - 1) / C.SHD_QUANT
		needs = append(needs, need{placeRounded, 2 * p.rows * deep * C.SHD_QUANT}, need{placeScale, 4 * p.rows * deep})
		for _, place := range []int{placeTokens, placeTable, placePosition, placeFirst, placeCount} {
			needs = append(needs, need{place, 4 * p.rows})
		}
	}
	if picks > p.picks {
		p.picks = max(picks, min(2*p.picks, picks+16))
		needs = append(needs, need{C.SHD_LOGITS, 4 * p.picks * int(s.width[C.SHD_LOGITS])},
			need{placePick, 4 * p.picks}, need{placeLabel, 4 * p.picks}, need{placeLoss, 8 * p.picks})
	}
	if blocks > p.blocks {
		p.blocks = max(blocks, 2*p.blocks)
		needs = append(needs, need{placeBlocks, 8 * p.blocks})
	}
	for _, n := range needs {
		if err := p.allot(n.place, n.bytes); err != nil {
			p.rows, p.picks, p.blocks = 0, 0, 0
			return err
		}
	}
	if len(needs) == 0 {
		return nil
	}
	for b := range buffers {
		s.buffer[b] = at[C.float](p, b)
	}
	s.rounded, s.scale = at[C.int16_t](p, placeRounded), at[C.float](p, placeScale)
	s.tokens, s.table, s.position = at[C.int32_t](p, placeTokens), at[C.int32_t](p, placeTable), at[C.int32_t](p, placePosition)
	s.first, s.count = at[C.int32_t](p, placeFirst), at[C.int32_t](p, placeCount)
	s.pick, s.label, s.loss = at[C.int32_t](p, placePick), at[C.int32_t](p, placeLabel), at[C.double](p, placeLoss)
	s.blocks = at[C.uintptr_t](p, placeBlocks)
	return nil
}

// share cuts the operations into pieces for a number of threads.
func (p *Program) share(threads int) error {
	if threads == p.threads {
		return nil
	}
	p.threads = threads
	ops := unsafe.Slice(p.c.ops, int(p.c.n))
	for i := range ops {
		panels := (int(ops[i].w.n) + panelRows - 1) / panelRows
		ops[i].group = C.int32_t(min(16, max(2, panels/(8*threads)/2*2)))
	}
	if err := p.allot(placeClaims, 4*threads*len(ops)); err != nil {
		return err
	}
	if err := p.allot(placeDone, 4*len(ops)); err != nil {
		return err
	}
	p.c.claims, p.c.done = at[C.int32_t](p, placeClaims), at[C.int32_t](p, placeDone)
	return p.reserveScores()
}

// Run computes a step. Its positions must be below those of the rotation tables.
func (p *Program) Run(step *Step) error {
	rows := len(step.Tokens)
	if rows == 0 {
		return nil
	}
	threads := min(Threads(), maxThreads)
	if rows*p.work < leastWork {
		threads = 1
	}
	if err := p.check(step); err != nil {
		return err
	}
	if err := p.share(max(threads, p.threads)); err != nil {
		return err
	}
	if err := p.reserve(rows, len(step.Wanted), len(step.Blocks)); err != nil {
		return err
	}
	copy(slot[int32](p, placeTokens, rows), step.Tokens)
	copy(slot[int32](p, placeTable, rows), step.Table)
	copy(slot[int32](p, placePosition, rows), step.Position)
	if n := len(step.Wanted); n > 0 {
		copy(slot[int32](p, placePick, n), step.Wanted)
		copy(slot[int32](p, placeLabel, n), step.Labels)
	}
	copy(slot[Block](p, placeBlocks, len(step.Blocks)), step.Blocks)
	s := &p.c.step
	s.rows, s.picks, s.spans = C.int32_t(rows), C.int32_t(len(step.Wanted)), C.int32_t(p.spans(step))
	p.c.kernels = decodeKernels
	p.call(threads)
	return nil
}

// spans cuts the rows into runs of one sequence at positions that follow each other.
func (p *Program) spans(step *Step) int {
	first, count := slot[int32](p, placeFirst, p.rows), slot[int32](p, placeCount, p.rows)
	n := 0
	for i, at := range step.Position {
		if n > 0 && count[n-1] < spanRows && step.Table[i] == step.Table[i-1] && at == step.Position[i-1]+1 {
			count[n-1]++
			continue
		}
		first[n], count[n] = int32(i), 1
		n++
	}
	return n
}

// check is an error for what C would read beyond its memory.
func (p *Program) check(step *Step) error {
	rows := len(step.Tokens)
	if len(step.Table) != rows || len(step.Position) != rows || len(step.Labels) != 0 && len(step.Labels) != len(step.Wanted) {
		return errors.New("kernel: a step's rows are not of one number")
	}
	for i, t := range step.Table {
		at := step.Position[i]
		if at < 0 || int(at) >= p.positions || t < 0 || int(t+at/BlockPositions) >= len(step.Blocks) {
			return errors.New("kernel: a row of a step is at a position that has no place")
		}
		if token := step.Tokens[i]; token < 0 || p.vocab > 0 && int(token) >= p.vocab {
			return errors.New("kernel: a token of a step is not in the vocabulary")
		}
	}
	for _, l := range step.Labels {
		if l < 0 || int(l) >= int(p.c.step.width[BufferLogits]) {
			return errors.New("kernel: a label of a step is not in the vocabulary")
		}
	}
	if !slices.IsSorted(step.Wanted) || len(step.Wanted) > 0 && (step.Wanted[0] < 0 || int(step.Wanted[len(step.Wanted)-1]) >= rows) {
		return errors.New("kernel: the wanted rows of a step are not among its rows in rising order")
	}
	return nil
}

// Rows is a buffer's first n rows, valid until the next step.
func (p *Program) Rows(b Buffer, n int) []float32 {
	if n == 0 {
		return nil
	}
	return slot[float32](p, int(b), n*int(p.c.step.width[b]))
}

// Fill makes room for a step of rows, all of which are wanted, and fills a buffer's rows that an operation reads first.
func (p *Program) Fill(b Buffer, rows int, values []float32) error {
	if err := p.reserve(rows, rows, rows); err != nil {
		return err
	}
	copy(p.Rows(b, rows), values)
	return nil
}

// Losses are those of the wanted rows, nats, valid until the next step.
func (p *Program) Losses() []float64 {
	return slot[float64](p, placeLoss, int(p.c.step.picks))
}
