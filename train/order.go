package train

// Order is the order in which epoch e of a training visits n rows: a permutation of 0..n-1.
//
// It is that of accelerate 1.15's SeedableRandomSampler, with which TRL trains: torch.randperm(n) of a generator that is
// seeded anew with seed + epoch.
func Order(n int, seed int64, epoch int) []int {
	return randperm(n, uint64(seed)+uint64(epoch))
}

// randperm is torch.randperm(n) on a CPU (torch 2.13, aten/src/ATen/native/TensorFactories.cpp): Fisher and Yates'
// shuffle from the front, drawing 32 bits a swap, or 64 where the remainder of 32 bits would no longer be even.
func randperm(n int, seed uint64) []int {
	const wide = (1<<32 - 1) / 20
	perm := make([]int, n)
	for i := range perm {
		perm[i] = i
	}
	g := newTwister(uint32(seed))
	for i := 0; i < n-1; i++ {
		draw := uint64(g.next())
		if n >= wide {
			draw = draw<<32 | uint64(g.next())
		}
		j := i + int(draw%uint64(n-i))
		perm[i], perm[j] = perm[j], perm[i]
	}
	return perm
}

// A twister is MT19937 (Matsumoto and Nishimura, 1998), torch's generator on a CPU. torch seeds it with the lower 32
// bits of the seed alone.
type twister struct {
	state [624]uint32
	at    int
}

func newTwister(seed uint32) *twister {
	g := &twister{at: len(twister{}.state)}
	g.state[0] = seed
	for i := 1; i < len(g.state); i++ {
		g.state[i] = 1812433253*(g.state[i-1]^g.state[i-1]>>30) + uint32(i)
	}
	return g
}

// next draws 32 bits.
func (g *twister) next() uint32 {
	const n, m = 624, 397
	if g.at == n {
		for i := range g.state {
			y := g.state[i]&0x80000000 | g.state[(i+1)%n]&0x7fffffff
			v := g.state[(i+m)%n] ^ y>>1
			if y&1 == 1 {
				v ^= 0x9908b0df
			}
			g.state[i] = v
		}
		g.at = 0
	}
	y := g.state[g.at]
	g.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}
