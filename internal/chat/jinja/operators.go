package jinja

import (
	"math"
	"math/big"
	"strings"
)

func (r *run) binary(op string, a, b Value) Value {
	r.defined(a)
	r.defined(b)
	if x, ok := a.(string); ok {
		switch y := b.(type) {
		case string:
			if op == "+" {
				r.made(len(x) + len(y))
				return x + y
			}
		case int:
			if op == "*" {
				return r.repeat(x, y)
			}
		}
		if op == "%" {
			return r.percent(x, b)
		}
	}
	if x, ok := sequence(a); ok {
		if y, ok := sequence(b); ok && op == "+" && typeName(a) == typeName(b) {
			r.made(16 * (len(x) + len(y)))
			return like(a, append(append(make([]Value, 0, len(x)+len(y)), x...), y...))
		}
		if n, ok := b.(int); ok && op == "*" {
			n = max(n, 0)
			if n > 0 && len(x) > maxBytes/16/n {
				r.made(maxBytes + 1)
			}
			r.made(16 * n * len(x))
			out := make([]Value, 0, n*len(x))
			for range n {
				out = append(out, x...)
			}
			return like(a, out)
		}
	}
	if n, ok := a.(int); ok && op == "*" {
		if _, isSequence := sequence(b); isSequence || typeName(b) == "str" {
			return r.binary("*", b, n)
		}
	}
	return r.arithmetic(op, a, b)
}

func (r *run) repeat(s string, n int) string {
	n = max(n, 0)
	if n > 0 && len(s) > maxBytes/n {
		r.made(maxBytes + 1)
	}
	r.made(n * len(s))
	return strings.Repeat(s, n)
}

func (r *run) arithmetic(op string, a, b Value) Value {
	x, xf, xInt, okX := number(a)
	y, yf, yInt, okY := number(b)
	if !okX || !okY {
		r.fail("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	}
	if (op == "/" || op == "//" || op == "%") && yf == 0 {
		r.fail("division by zero")
	}
	if (xInt || isBig(a)) && (yInt || isBig(b)) && op != "/" && !(op == "**" && yf < 0) {
		return r.integers(op, bigOf(a, x), bigOf(b, y))
	}
	switch op {
	case "+":
		return xf + yf
	case "-":
		return xf - yf
	case "*":
		return xf * yf
	case "/":
		return xf / yf
	case "//":
		return math.Floor(xf / yf)
	case "%":
		m := math.Mod(xf, yf)
		if m != 0 && (m < 0) != (yf < 0) {
			m += yf
		}
		return m
	}
	return math.Pow(xf, yf)
}

func isBig(v Value) bool { _, ok := v.(*big.Int); return ok }

func bigOf(v Value, small int) *big.Int {
	if i, ok := v.(*big.Int); ok {
		return i
	}
	return big.NewInt(int64(small))
}

// maxBits bounds the size of whole numbers.
const maxBits = 1 << 14

func (r *run) integers(op string, a, b *big.Int) Value {
	z := new(big.Int)
	switch op {
	case "+":
		z.Add(a, b)
	case "-":
		z.Sub(a, b)
	case "*":
		z.Mul(a, b)
	case "**":
		if a.BitLen() > 1 && (!b.IsInt64() || b.Int64() > maxBits/int64(a.BitLen())) {
			r.fail("the power of the numbers is too large")
		}
		if a.BitLen() <= 1 && b.Sign() > 0 { // the power of -1, 0 and 1 depends on whether b is even
			b = big.NewInt(2 - int64(b.Bit(0)))
		}
		z.Exp(a, b, nil)
	default: // Python rounds down, Go towards zero
		m := new(big.Int)
		z.DivMod(a, b, m) // Euclidean: 0 <= m < |b|
		if m.Sign() != 0 && b.Sign() < 0 {
			m.Add(m, b)
			z.Sub(z, big.NewInt(1))
		}
		if op == "%" {
			z = m
		}
	}
	if z.BitLen() > maxBits {
		r.fail("a number has more than %d bits", maxBits)
	}
	if !z.IsInt64() {
		return z
	}
	return int(z.Int64())
}

func (r *run) negate(v Value) Value {
	i, f, isInt, ok := number(r.defined(v))
	switch {
	case !ok:
		r.fail("bad operand type for unary -: '%s'", typeName(v))
	case isBig(v):
		return new(big.Int).Neg(v.(*big.Int))
	case isInt && i != math.MinInt:
		return -i
	}
	return -f
}
