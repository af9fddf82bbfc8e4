package student

import "stillhouse/internal/kernel"

// A blockPool hands out blocks of the cache and takes them back. Sequences that begin alike share blocks.
type blockPool struct {
	shape kernel.CacheShape
	free  []kernel.Block
	uses  map[kernel.Block]int
}

// A sequence is a place in the cache: length positions in blocks.
type sequence struct {
	blocks []kernel.Block
	length int
}

func (p *blockPool) take() (kernel.Block, error) {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		p.uses[b] = 1
		return b, nil
	}
	b, err := p.shape.NewBlock()
	if err == nil {
		p.uses[b] = 1
	}
	return b, err
}

// extend makes room for n more positions.
func (p *blockPool) extend(s *sequence, n int) error {
	for len(s.blocks)*kernel.BlockPositions < s.length+n {
		b, err := p.take()
		if err != nil {
			return err
		}
		s.blocks = append(s.blocks, b)
	}
	return nil
}

// fork makes a sequence that begins as s does and goes on by itself: full blocks are shared, the last is copied.
func (p *blockPool) fork(s *sequence) (sequence, error) {
	out := sequence{length: s.length}
	full := s.length / kernel.BlockPositions
	for _, b := range s.blocks[:full] {
		p.uses[b]++
		out.blocks = append(out.blocks, b)
	}
	if s.length%kernel.BlockPositions > 0 {
		b, err := p.take()
		if err != nil {
			p.release(&out)
			return sequence{}, err
		}
		p.shape.Copy(b, s.blocks[full])
		out.blocks = append(out.blocks, b)
	}
	return out, nil
}

func (p *blockPool) release(s *sequence) {
	for _, b := range s.blocks {
		if p.uses[b]--; p.uses[b] == 0 {
			delete(p.uses, b)
			p.free = append(p.free, b)
		}
	}
	*s = sequence{}
}

// close gives all blocks back to the system. No sequence may be used any more.
func (p *blockPool) close() {
	for _, b := range p.free {
		b.Free()
	}
	for b := range p.uses {
		b.Free()
	}
	p.free, p.uses = nil, map[kernel.Block]int{}
}
