package kernel

/*
#include "decode.h"
*/
import "C"

import "errors"

// BlockPositions is the number of positions in one block of a cache of keys and values.
const BlockPositions = C.SHD_PANEL

// CacheShape is the shape of a cache of keys and values.
type CacheShape struct {
	Layers, Heads, KVHeads, HeadDim int
}

// floats is the size of a block: the keys and values of all layers for 16 positions.
func (s CacheShape) floats() int {
	padded := (s.HeadDim + BlockPositions - 1) / BlockPositions * BlockPositions
	return s.Layers * s.KVHeads * BlockPositions * (s.HeadDim + padded)
}

// width is that of a row of all heads' queries, keys and values.
func (s CacheShape) width() int { return (s.Heads + 2*s.KVHeads) * s.HeadDim }

// A Block is 16 positions of a cache, of all layers. It lies outside of Go's memory and must be freed.
type Block uintptr

// NewBlock allocates a block of zeros.
func (s CacheShape) NewBlock() (Block, error) {
	p := C.shd_block_new(C.int64_t(s.floats()))
	if p == nil {
		return 0, errors.New("no memory is left for the cache of keys and values: generate fewer or shorter samples at once")
	}
	return Block(uintptr(p)), nil
}

// Copy copies the block from onto the block to.
func (s CacheShape) Copy(to, from Block) {
	C.shd_block_copy(C.uintptr_t(to), C.uintptr_t(from), C.int64_t(s.floats()))
}

// Free gives the block back.
func (b Block) Free() { C.shd_block_free(C.uintptr_t(b)) }
