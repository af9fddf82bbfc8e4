package formula

import (
	"errors"
	"math/big"
	"math/bits"
)

// primes below 2^61. That a rational function vanishes at a random point modulo all of them, and isn't zero, has a chance
// of about (degree/2^61)^4.
var primes = [4]uint64{2305843009213693951, 2305843009213693921, 2305843009213693907, 2305843009213693723}

var errTranscendental = errors.New("no rational function")

// A field computes modulo a prime.
type field struct {
	p     uint64
	c     *comparer
	at    map[string]uint64 // the variables' values
	point uint64
}

func (f *field) mul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	_, r := bits.Div64(hi, lo, f.p)
	return r
}

func (f *field) add(a, b uint64) uint64 {
	if s := a + b; s < f.p {
		return s
	}
	return a + b - f.p
}

func (f *field) neg(a uint64) uint64 {
	if a == 0 {
		return 0
	}
	return f.p - a
}

func (f *field) pow(a, n uint64) uint64 {
	r := uint64(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			r = f.mul(r, a)
		}
		a = f.mul(a, a)
	}
	return r
}

func (f *field) inv(a uint64) (uint64, error) {
	if a == 0 {
		return 0, errZero
	}
	return f.pow(a, f.p-2), nil
}

func (f *field) integer(n *big.Int) uint64 {
	if n.IsInt64() {
		if v := n.Int64(); v >= 0 && uint64(v) < f.p {
			return uint64(v)
		}
	}
	p := new(big.Int).SetUint64(f.p)
	return new(big.Int).Mod(n, p).Uint64()
}

// value is a variable's: a residue that depends on its name, the point and nothing else.
func (f *field) value(name string) uint64 {
	if v, ok := f.at[name]; ok {
		return v
	}
	h := uint64(14695981039346656037) ^ f.point*0x9e3779b97f4a7c15
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return (h ^ h>>31) % f.p
}

func (f *field) eval(n *Node) (uint64, error) {
	if err := f.c.spend(1); err != nil {
		return 0, err
	}
	switch n.Kind {
	case Number:
		num := f.integer(n.Value.Num())
		if n.Value.IsInt() {
			return num, nil
		}
		den, err := f.inv(f.integer(n.Value.Denom()))
		return f.mul(num, den), err
	case Symbol:
		return f.value(n.Name), nil
	case Add, Mul:
		v, err := f.eval(n.Args[0])
		for _, a := range n.Args[1:] {
			if err != nil {
				break
			}
			var w uint64
			if w, err = f.eval(a); n.Kind == Add {
				v = f.add(v, w)
			} else {
				v = f.mul(v, w)
			}
		}
		return v, err
	case Div:
		a, err := f.eval(n.Args[0])
		if err != nil {
			return 0, err
		}
		b, err := f.eval(n.Args[1])
		if err != nil {
			return 0, err
		}
		b, err = f.inv(b)
		return f.mul(a, b), err
	case Pow:
		return f.power(n)
	case Call:
		if n.Name == "!" && n.Args[0].Kind == Number && n.Args[0].Value.IsInt() && n.Args[0].Value.Num().IsInt64() {
			return f.factorial(n.Args[0].Value.Num().Int64())
		}
	}
	return 0, errTranscendental
}

// power is a power with an integer for exponent, of any size: by Fermat's little theorem it counts modulo p-1.
func (f *field) power(n *Node) (uint64, error) {
	e := n.Args[1]
	if e.Kind != Number || !e.Value.IsInt() {
		return 0, errTranscendental
	}
	a, err := f.eval(n.Args[0])
	if err != nil {
		return 0, err
	}
	k := e.Value.Num()
	switch {
	case a == 0 && k.Sign() > 0:
		return 0, nil
	case a == 0:
		return 0, errZero
	}
	order := new(big.Int).SetUint64(f.p - 1)
	return f.pow(a, new(big.Int).Mod(k, order).Uint64()), nil
}

func (f *field) factorial(n int64) (uint64, error) {
	if n < 0 || n > 1e6 {
		return 0, errTranscendental
	}
	if err := f.c.spend(int(n / 8)); err != nil {
		return 0, err
	}
	v := uint64(1)
	for k := uint64(2); k <= uint64(n); k++ {
		v = f.mul(v, k)
	}
	return v, nil
}

// modular compares two rational functions. It is errTranscendental when one is none.
func (c *comparer) modular(a, b *Node) (Relation, error) {
	agreed := 0
	for point := range uint64(3) {
		for _, p := range primes {
			f := &field{p: p, c: c, point: point}
			x, err := f.eval(a)
			var y uint64
			if err == nil {
				y, err = f.eval(b)
			}
			switch {
			case errors.Is(err, errZero): // a pole, or a denominator that the prime divides
				continue
			case err != nil:
				return Undecided, err
			case x != y:
				return Different, nil
			}
			agreed++
		}
	}
	if agreed < 4 {
		return Undecided, errZero
	}
	return Same, nil
}

// sqrt is a square root modulo a prime, by Tonelli and Shanks; ok is false when there is none.
func (f *field) sqrt(a uint64) (uint64, bool) {
	if a == 0 {
		return 0, true
	}
	if f.pow(a, (f.p-1)/2) != 1 {
		return 0, false
	}
	s := bits.TrailingZeros64(f.p - 1)
	q := (f.p - 1) >> s
	z := uint64(2)
	for f.pow(z, (f.p-1)/2) == 1 {
		z++
	}
	m, c, t, r := s, f.pow(z, q), f.pow(a, q), f.pow(a, (q+1)/2)
	for t != 1 {
		i, u := 0, t
		for u != 1 {
			u = f.mul(u, u)
			i++
		}
		b := c
		for range m - i - 1 {
			b = f.mul(b, b)
		}
		m, c = i, f.mul(b, b)
		t, r = f.mul(t, c), f.mul(r, b)
	}
	return r, true
}
