package rouge

import "math/bits"

// A pattern is a sequence of tokens that others are compared with, prepared for the bit-parallel algorithm of Hyyrö ("Bit-
// parallel LCS-length computation revisited", 2004): 64 places of the pattern a step.
type pattern struct {
	n     int
	words int
	masks map[uint32][]uint64 // of a token, the places where it stands
	v     []uint64
}

func newPattern(tokens []uint32) *pattern {
	p := &pattern{n: len(tokens), words: (len(tokens) + 63) / 64, masks: make(map[uint32][]uint64, len(tokens))}
	for i, t := range tokens {
		m := p.masks[t]
		if m == nil {
			m = make([]uint64, p.words)
			p.masks[t] = m
		}
		m[i/64] |= 1 << (i % 64)
	}
	p.v = make([]uint64, p.words)
	return p
}

// lcs is the length of the longest common subsequence.
func (p *pattern) lcs(tokens []uint32) int {
	for i := range p.v {
		p.v[i] = ^uint64(0)
	}
	for _, t := range tokens {
		m := p.masks[t]
		if m == nil {
			continue
		}
		var carry uint64
		for i, v := range p.v {
			u := v & m[i]
			var sum uint64
			sum, carry = bits.Add64(v, u, carry)
			p.v[i] = sum | v&^u
		}
	}
	zeros := 0
	for i, v := range p.v {
		if rest := p.n - 64*i; rest < 64 {
			v |= ^uint64(0) << rest
		}
		zeros += bits.OnesCount64(^v)
	}
	return zeros
}
