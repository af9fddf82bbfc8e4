package formula

import (
	"math"
	"math/big"
	"sync"
)

// The elementary functions of a real argument, by Taylor series after the argument is made small. Inside they work with 96
// bits more than a ball has, so that what they lose is below its last bit.
const working = precision + 96

func work() *big.Float { return new(big.Float).SetPrec(working) }

// pi is by Machin's formula: 16 arctan(1/5) - 4 arctan(1/239).
var pi = sync.OnceValue(func() *big.Float {
	a, b := arctanInverse(5), arctanInverse(239)
	return a.Sub(a.Mul(a, work().SetInt64(16)), b.Mul(b, work().SetInt64(4)))
})

// arctanInverse is arctan(1/n).
func arctanInverse(n int64) *big.Float {
	sum, term := work(), work().Quo(work().SetInt64(1), work().SetInt64(n))
	square := work().SetInt64(n * n)
	for k := int64(1); term.Sign() != 0 && term.MantExp(nil) > -working-16; k += 2 {
		t := work().Quo(term, work().SetInt64(k))
		if k%4 == 1 {
			sum.Add(sum, t)
		} else {
			sum.Sub(sum, t)
		}
		term.Quo(term, square)
	}
	return sum
}

// ln2 is 2 artanh(1/3).
var ln2 = sync.OnceValue(func() *big.Float {
	sum, term := work(), work().Quo(work().SetInt64(2), work().SetInt64(3))
	for k := int64(1); term.MantExp(nil) > -working-16; k += 2 {
		sum.Add(sum, work().Quo(term, work().SetInt64(k)))
		term.Quo(term, work().SetInt64(9))
	}
	return sum
})

// nearest is the integer next to x.
func nearest(x *big.Float) int64 {
	f, _ := x.Float64()
	return int64(math.Round(f))
}

// expReal is e^x for |x| up to a million.
func expReal(x *big.Float) *big.Float {
	k := nearest(work().Quo(x, ln2()))
	r := work().Sub(x, work().Mul(ln2(), work().SetInt64(k)))
	const halvings = 12
	r.SetMantExp(r, -halvings)
	sum, term := work().SetInt64(1), work().SetInt64(1)
	for n := int64(1); term.Sign() != 0 && term.MantExp(nil) > -working-4; n++ {
		term.Mul(term, r)
		term.Quo(term, work().SetInt64(n))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum.SetMantExp(sum, int(k))
}

// logReal is ln x for x > 0, by Halley's iteration on e^y = x.
func logReal(x *big.Float) *big.Float {
	m := work()
	e := x.MantExp(m)
	f, _ := m.Float64()
	y := work().SetFloat64(math.Log(f))
	for range 3 {
		ey := expReal(y)
		d := work().Quo(work().Sub(m, ey), work().Add(m, ey))
		y.Add(y, d.Mul(d, work().SetInt64(2)))
	}
	return y.Add(y, work().Mul(ln2(), work().SetInt64(int64(e))))
}

// sinCos are sin x and cos x for |x| up to a million.
func sinCos(x *big.Float) (sin, cos *big.Float) {
	half := work().Quo(pi(), work().SetInt64(2))
	n := nearest(work().Quo(x, half))
	r := work().Sub(x, work().Mul(half, work().SetInt64(n)))
	const halvings = 10
	r.SetMantExp(r, -halvings)
	sin, cos = work(), work().SetInt64(1)
	term := work().SetInt64(1)
	for k := int64(1); term.Sign() != 0 && term.MantExp(nil) > -working-24; k++ {
		term.Mul(term, r)
		term.Quo(term, work().SetInt64(k))
		switch k % 4 {
		case 1:
			sin.Add(sin, term)
		case 2:
			cos.Sub(cos, term)
		case 3:
			sin.Sub(sin, term)
		default:
			cos.Add(cos, term)
		}
	}
	for range halvings {
		s := work().Mul(sin, cos)
		c := work().Sub(work().Mul(cos, cos), work().Mul(sin, sin))
		sin, cos = s.Add(s, s), c
	}
	switch ((n % 4) + 4) % 4 {
	case 1:
		sin, cos = cos, sin.Neg(sin)
	case 2:
		sin, cos = sin.Neg(sin), cos.Neg(cos)
	case 3:
		sin, cos = cos.Neg(cos), sin
	}
	return sin, cos
}

// arctanReal is by arctan x = 2 arctan(x / (1 + √(1+x²))).
func arctanReal(x *big.Float) *big.Float {
	y := work().Set(x)
	const halvings = 10
	for range halvings {
		s := work().Mul(y, y)
		s.Sqrt(s.Add(s, work().SetInt64(1)))
		y.Quo(y, s.Add(s, work().SetInt64(1)))
	}
	square := work().Mul(y, y)
	sum, term := work(), work().Set(y)
	for k := int64(1); term.Sign() != 0 && term.MantExp(nil) > -working-24; k += 2 {
		t := work().Quo(term, work().SetInt64(k))
		if k%4 == 1 {
			sum.Add(sum, t)
		} else {
			sum.Sub(sum, t)
		}
		term.Mul(term, square)
	}
	return sum.SetMantExp(sum, halvings)
}

// ulp is 2^-(precision-2): the absolute error of a function whose value is about one.
func ulp() *big.Float { return bound().SetMantExp(bound().SetInt64(1), 2-precision) }

var million = float().SetInt64(1_000_000)

func (b ball) bounded() bool {
	return float().Abs(b.re).Cmp(million) < 0 && float().Abs(b.im).Cmp(million) < 0 && b.rad.Cmp(one) < 0
}

func (b ball) exp() (ball, error) {
	if b.isZero() {
		return exactly(1), nil
	}
	if !b.bounded() {
		return ball{}, errTooLarge
	}
	m := expReal(b.re)
	r := ball{re: float().Set(m), im: float(), real: b.real}
	if !b.real {
		s, c := sinCos(b.im)
		r.re, r.im = float().Mul(m, c), float().Mul(m, s)
	}
	size := bound().Abs(m)
	r.rad = bound().Mul(size, bound().Mul(b.rad, bound().SetInt64(2))) // e^x - 1 ≤ 2x for x ≤ 1
	r.rad.Add(r.rad, slack(size, 3))
	return r, nil
}

// log is the principal logarithm.
func (b ball) log() (ball, error) {
	low := b.low()
	switch {
	case b.isZero():
		return ball{}, errZero
	case low.Sign() <= 0:
		return ball{}, errPrecision
	}
	r := ball{im: float(), real: b.real && b.re.Sign() > 0}
	if b.real {
		r.re = float().Set(logReal(float().Abs(b.re)))
		if b.re.Sign() < 0 {
			r.im.Set(pi())
		}
	} else {
		norm := float().Add(float().Mul(b.re, b.re), float().Mul(b.im, b.im))
		r.re = float().Set(logReal(norm))
		r.re.SetMantExp(r.re, -1)
		if b.re.Sign() < 0 && bound().Abs(b.im).Cmp(b.rad) <= 0 {
			return ball{}, errPrecision // across the cut
		}
		r.im.Set(arg(b.re, b.im))
	}
	r.rad = bound().Quo(b.rad, low)
	r.rad.Add(r.rad, slack(r.abs(), 3))
	r.rad.Add(r.rad, ulp())
	return r, nil
}

// arg is the angle of a point that isn't the origin.
func arg(x, y *big.Float) *big.Float {
	if x.Sign() == 0 {
		h := work().Quo(pi(), work().SetInt64(2))
		if y.Sign() < 0 {
			h.Neg(h)
		}
		return h
	}
	a := arctanReal(work().Quo(y, x))
	switch {
	case x.Sign() > 0:
	case y.Sign() >= 0:
		a.Add(a, pi())
	default:
		a.Sub(a, pi())
	}
	return a
}

func (b ball) sinCos() (sin, cos ball, err error) {
	if !b.bounded() {
		return ball{}, ball{}, errTooLarge
	}
	if b.real {
		s, c := sinCos(b.re)
		rad := bound().Add(b.rad, ulp())
		return ball{re: float().Set(s), im: float(), rad: rad, real: true}, ball{re: float().Set(c), im: float(), rad: rad, real: true}, nil
	}
	i := ball{re: float(), im: float().SetInt64(1), rad: bound()}
	plus, err := b.mul(i).exp()
	if err != nil {
		return ball{}, ball{}, err
	}
	less, err := b.mul(i).neg().exp()
	if err != nil {
		return ball{}, ball{}, err
	}
	half := fromRat(big.NewRat(1, 2))
	return plus.add(less.neg()).mul(half).mul(i).neg(), plus.add(less).mul(half), nil
}

// arctan is of a real number.
func (b ball) arctan() (ball, error) {
	if !b.real {
		return ball{}, errTranscendental
	}
	return ball{re: float().Set(arctanReal(b.re)), im: float(), rad: bound().Add(b.rad, ulp()), real: true}, nil
}

// arcsin is of a real number between -1 and 1.
func (b ball) arcsin() (ball, error) {
	if !b.real {
		return ball{}, errTranscendental
	}
	rest := exactly(1).add(b.mul(b).neg())
	half := ball{re: float().Quo(pi(), float().SetInt64(2)), im: float(), rad: ulp(), real: true}
	if rest.isZero() {
		if b.re.Sign() < 0 {
			return half.neg(), nil
		}
		return half, nil
	}
	if s, err := rest.sign(); err != nil || s < 0 {
		return ball{}, errPrecision
	}
	root, err := rest.sqrt()
	if err != nil {
		return ball{}, err
	}
	inv, err := root.inv()
	if err != nil {
		return ball{}, err
	}
	return b.mul(inv).arctan()
}
