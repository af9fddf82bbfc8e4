package formula

import (
	"errors"
	"math/big"
)

// precision is how many bits a ball's centre has.
const precision = 256

var errPrecision = errors.New("too close to tell")

// A ball is a complex number that is known up to rad.
type ball struct {
	re, im *big.Float
	rad    *big.Float
	real   bool // im is exactly zero
}

func float() *big.Float { return new(big.Float).SetPrec(precision) }

// bound is a float for radii: it is rounded away from zero.
func bound() *big.Float { return new(big.Float).SetPrec(64).SetMode(big.AwayFromZero) }

var one = float().SetInt64(1)

func exactly(n int64) ball {
	return ball{re: float().SetInt64(n), im: float(), rad: bound(), real: true}
}

func fromRat(r *big.Rat) ball {
	b := ball{re: float().SetRat(r), im: float(), rad: bound(), real: true}
	if b.re.Acc() != big.Exact {
		b.rad = slack(b.re, 0)
	}
	return b
}

// slack is |x| 2^(lost-precision): what rounding may cost.
func slack(x *big.Float, lost int) *big.Float {
	r := bound().Abs(x)
	if r.Sign() == 0 {
		return r
	}
	return r.SetMantExp(r, lost-precision)
}

// abs is an upper bound of the modulus of the centre.
func (b ball) abs() *big.Float {
	r := bound().Abs(b.re)
	if !b.real {
		r.Add(r, bound().Abs(b.im))
	}
	return r
}

// low is a lower bound of the modulus of all of the ball, zero or less when it may hold zero.
func (b ball) low() *big.Float {
	r := new(big.Float).SetPrec(64).SetMode(big.ToZero).Abs(b.re)
	if im := new(big.Float).SetPrec(64).SetMode(big.ToZero).Abs(b.im); im.Cmp(r) > 0 {
		r = im
	}
	return r.SetMode(big.ToNegativeInf).Sub(r, b.rad)
}

func (b ball) isZero() bool { return b.rad.Sign() == 0 && b.re.Sign() == 0 && b.im.Sign() == 0 }

func (a ball) add(b ball) ball {
	r := ball{re: float().Add(a.re, b.re), im: float().Add(a.im, b.im), rad: bound().Add(a.rad, b.rad), real: a.real && b.real}
	if r.re.Acc() != big.Exact || r.im.Acc() != big.Exact {
		r.rad.Add(r.rad, slack(r.abs(), 1))
	}
	return r
}

func (a ball) neg() ball {
	return ball{re: float().Neg(a.re), im: float().Neg(a.im), rad: a.rad, real: a.real}
}

func (a ball) mul(b ball) ball {
	r := ball{real: a.real && b.real}
	exact := false
	if r.real {
		r.re, r.im = float().Mul(a.re, b.re), float()
		exact = r.re.Acc() == big.Exact
	} else {
		r.re = float().Sub(float().Mul(a.re, b.re), float().Mul(a.im, b.im))
		r.im = float().Add(float().Mul(a.re, b.im), float().Mul(a.im, b.re))
	}
	x, y := a.abs(), b.abs()
	r.rad = bound().Mul(x, b.rad)
	r.rad.Add(r.rad, bound().Mul(y, a.rad))
	r.rad.Add(r.rad, bound().Mul(a.rad, b.rad))
	if !exact {
		r.rad.Add(r.rad, slack(bound().Mul(x, y), 3))
	}
	return r
}

// inv is 1/b. A ball that holds zero has none.
func (b ball) inv() (ball, error) {
	low := b.low()
	switch {
	case b.isZero():
		return ball{}, errZero
	case low.Sign() <= 0:
		return ball{}, errPrecision
	}
	r := ball{real: b.real}
	if b.real {
		r.re, r.im = float().Quo(one, b.re), float()
	} else {
		norm := float().Add(float().Mul(b.re, b.re), float().Mul(b.im, b.im))
		r.re, r.im = float().Quo(b.re, norm), float().Quo(float().Neg(b.im), norm)
	}
	r.rad = bound().Quo(b.rad, new(big.Float).SetPrec(64).SetMode(big.ToZero).Mul(low, low))
	r.rad.Add(r.rad, slack(r.abs(), 4))
	return r, nil
}

// powInt is a power by squaring.
func (b ball) powInt(n int64) (ball, error) {
	if n < 0 {
		inv, err := b.inv()
		if err != nil {
			return ball{}, err
		}
		b, n = inv, -n
	}
	r := exactly(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			r = r.mul(b)
		}
		if b = b.mul(b); b.re.IsInf() || b.re.MantExp(nil) > 1<<24 || b.re.MantExp(nil) < -1<<24 {
			return ball{}, errTooLarge
		}
	}
	return r, nil
}

// sign is that of a real ball.
func (b ball) sign() (int, error) {
	switch {
	case b.isZero():
		return 0, nil
	case !b.real || bound().Abs(b.re).Cmp(b.rad) <= 0:
		return 0, errPrecision
	}
	return b.re.Sign(), nil
}

// sqrt is the principal square root.
func (b ball) sqrt() (ball, error) {
	if b.isZero() {
		return b, nil
	}
	r := ball{im: float(), real: true}
	switch low := b.low(); {
	case !b.real:
		return b.viaLog(2)
	case low.Sign() > 0:
		r.re = float().Sqrt(float().Abs(b.re))
		r.rad = bound().Quo(b.rad, new(big.Float).SetPrec(64).SetMode(big.ToZero).Sqrt(low))
		r.rad.Add(r.rad, slack(r.re, 2))
		if b.re.Sign() < 0 {
			r.re, r.im, r.real = r.im, r.re, false
		}
	default: // √ near zero: |√x - √y| ≤ √|x-y|, and a negative number's root is imaginary
		r.re, r.real = float(), false
		r.rad = bound().Sqrt(bound().Add(b.abs(), b.rad))
		r.rad.Mul(r.rad, bound().SetInt64(2))
	}
	return r, nil
}

// viaLog is the principal k-th root.
func (b ball) viaLog(k int64) (ball, error) {
	l, err := b.log()
	if err != nil {
		return ball{}, err
	}
	return l.mul(fromRat(big.NewRat(1, k))).exp()
}

// root is the k-th root: of a negative number that of odd order is real.
func (b ball) root(k int64) (ball, error) {
	switch {
	case b.isZero() || k == 1:
		return b, nil
	case k == 2:
		return b.sqrt()
	case b.real && k%2 == 1 && b.re.Sign() < 0:
		r, err := b.neg().root(k)
		return r.neg(), err
	}
	return b.viaLog(k)
}

// meets reports whether two balls have a point in common.
func (a ball) meets(b ball) bool {
	d := a.add(b.neg())
	return d.low().Sign() <= 0
}

// close reports whether two balls are known to 40 digits, so that meeting means being the same.
func (a ball) close(b ball) bool {
	limit := bound().Add(a.abs(), b.abs())
	if limit.Cmp(one) < 0 {
		limit.SetInt64(1)
	}
	limit.SetMantExp(limit, -133)
	return bound().Add(a.rad, b.rad).Cmp(limit) < 0
}
