package answer

import (
	"errors"
	"math/big"
)

// Errors of what can't be evaluated. They end up in the evidence of a verdict.
var (
	errSymbolic = errors.New("not a number")
	errTooLarge = errors.New("too large to compute")
	errZero     = errors.New("divides by zero")
)

// Limits of exact arithmetic: an answer is text from outside and may spell 9^9^9^9.
const (
	maxBits = 1 << 16 // bits of a numerator or denominator
	maxFuel = 1 << 22 // word products of all operations together, some tens of milliseconds
)

// An evaluator computes the exact value of tokens: + - * / ^, brackets, fractions, mixed numbers, percent, factorials.
// Names and functions are not evaluated.
type evaluator struct {
	ts    []token
	i     int
	fuel  *int
	depth int

	// literal is the one number that everything consists of, for its decimals; nil when there are operations.
	literal *token
	terms   int
	cents   bool // a percent sign was read
}

// evaluate computes what all of ts is.
func evaluate(ts []token) (v *big.Rat, literal *token, percents bool, err error) {
	fuel := maxFuel
	e := &evaluator{ts: ts, fuel: &fuel}
	if v, err = e.all(); err != nil {
		return nil, nil, false, err
	}
	if e.terms != 1 {
		e.literal = nil
	}
	return v, e.literal, e.cents, nil
}

func (e *evaluator) all() (*big.Rat, error) {
	v, err := e.sum()
	if err == nil && e.i < len(e.ts) {
		err = errSymbolic
	}
	return v, err
}

func (e *evaluator) peek() *token {
	if e.i < len(e.ts) {
		return &e.ts[e.i]
	}
	return &token{class: stop}
}

func (e *evaluator) takes(text string) bool {
	if t := e.peek(); t.class == operator && t.text == text {
		e.i++
		return true
	}
	return false
}

func (e *evaluator) sum() (*big.Rat, error) {
	if e.depth++; e.depth > maxDepth {
		return nil, errTooLarge
	}
	defer func() { e.depth-- }()
	v, err := e.product()
	for err == nil {
		var w *big.Rat
		switch {
		case e.takes("+"):
			if w, err = e.product(); err == nil {
				v, err = e.spend(v, w, (*big.Rat).Add)
			}
		case e.takes("-"):
			if w, err = e.product(); err == nil {
				v, err = e.spend(v, w, (*big.Rat).Sub)
			}
		default:
			return v, nil
		}
	}
	return nil, err
}

func (e *evaluator) product() (*big.Rat, error) {
	v, err := e.signed()
	for err == nil {
		var w *big.Rat
		switch {
		case e.takes("*"):
			if w, err = e.signed(); err == nil {
				v, err = e.spend(v, w, (*big.Rat).Mul)
			}
		case e.takes("/"):
			if w, err = e.signed(); err == nil {
				if w.Sign() == 0 {
					return nil, errZero
				}
				v, err = e.spend(v, w, (*big.Rat).Quo)
			}
		case e.peek().class == opening: // 2(3+4)
			if w, err = e.power(); err == nil {
				v, err = e.spend(v, w, (*big.Rat).Mul)
			}
		default:
			return v, nil
		}
	}
	return nil, err
}

// signed is a power with its signs: -2^2 is -4.
func (e *evaluator) signed() (*big.Rat, error) {
	negative := false
	for n := 0; ; n++ {
		if e.takes("-") {
			negative = !negative
		} else if !e.takes("+") {
			break
		}
		if n > 1 {
			return nil, errSymbolic
		}
	}
	v, err := e.power()
	if err == nil && negative {
		v = new(big.Rat).Neg(v)
	}
	return v, err
}

func (e *evaluator) power() (*big.Rat, error) {
	base, err := e.postfix()
	if err != nil || !e.takes("^") {
		return base, err
	}
	e.terms++
	if e.depth++; e.depth > maxDepth {
		return nil, errTooLarge
	}
	defer func() { e.depth-- }()
	exp, err := e.signed()
	if err != nil {
		return nil, err
	}
	if !exp.IsInt() {
		return nil, errSymbolic
	}
	if !exp.Num().IsInt64() {
		return nil, errTooLarge
	}
	n := exp.Num().Int64()
	bits := int64(max(base.Num().BitLen(), base.Denom().BitLen()))
	if bits > 1 && max(n, -n) > maxBits/bits || max(n, -n) > maxBits {
		return nil, errTooLarge
	}
	if n < 0 {
		if base.Sign() == 0 {
			return nil, errZero
		}
		base, n = new(big.Rat).Inv(base), -n
	}
	if err := e.burn(bits*n, bits*n); err != nil {
		return nil, err
	}
	k := big.NewInt(n)
	return new(big.Rat).SetFrac(new(big.Int).Exp(base.Num(), k, nil), new(big.Int).Exp(base.Denom(), k, nil)), nil
}

func (e *evaluator) postfix() (*big.Rat, error) {
	v, err := e.primary()
	for err == nil {
		switch t := e.peek(); {
		case t.class == percent:
			e.i++
			e.cents = true
			v, err = e.spend(v, big.NewRat(1, 100), (*big.Rat).Mul)
		case t.class == bang && t.formula > 0:
			e.i++
			e.terms++
			if e.peek().class == bang {
				return nil, errSymbolic // a double factorial
			}
			if !v.IsInt() || v.Sign() < 0 {
				return nil, errSymbolic
			}
			if v.Num().BitLen() > 11 || v.Num().Int64() > 1000 {
				return nil, errTooLarge
			}
			v = new(big.Rat).SetInt(new(big.Int).MulRange(1, v.Num().Int64()))
		default:
			return v, nil
		}
	}
	return nil, err
}

func (e *evaluator) primary() (*big.Rat, error) {
	t := e.peek()
	if t.class == currency {
		e.i++
		t = e.peek()
	}
	e.i++
	switch t.class {
	case number:
		e.terms++
		e.literal = t
		return e.mixed(t)
	case fraction:
		e.terms += 2
		return e.fraction(t)
	case opening:
		start := e.i
		v, err := e.sum()
		if err != nil {
			return nil, err
		}
		shut := map[string]string{"(": ")", "{": "}"}[t.text]
		if e.peek().class != closing || e.peek().text != shut {
			return nil, errSymbolic
		}
		if t.text == "(" && e.i == start+1 && e.ts[start].grouped {
			return nil, errSymbolic // (1,234) may be a pair
		}
		e.i++
		return v, nil
	}
	return nil, errSymbolic
}

// mixed adds the fraction that stands right behind a whole number: 1\frac{1}{2}, 1 1/2, 1 and 1/2.
func (e *evaluator) mixed(t *token) (*big.Rat, error) {
	rest := e.ts[e.i:]
	if !t.value.IsInt() || len(rest) == 0 {
		return t.value, nil
	}
	var part *big.Rat
	var err error
	used := 0
	switch {
	case rest[0].class == fraction:
		part, err = e.fraction(&rest[0])
		used = 1
	case ratio(rest):
		part, used = new(big.Rat).Quo(rest[0].value, rest[2].value), 3
	case len(rest) > 3 && rest[0].class == word && rest[0].text == "and" && ratio(rest[1:]):
		part, used = new(big.Rat).Quo(rest[1].value, rest[3].value), 4
	default:
		return t.value, nil
	}
	if err != nil {
		return nil, err
	}
	if part.Sign() <= 0 || part.Cmp(big.NewRat(1, 1)) >= 0 {
		return nil, errSymbolic // 3\frac{5}{4} may be a product
	}
	e.i += used
	e.terms += 2
	return e.spend(t.value, part, (*big.Rat).Add)
}

// ratio reports whether ts begins with two whole numbers around a slash that stands close to both.
func ratio(ts []token) bool {
	return len(ts) >= 3 && ts[0].class == number && ts[1].text == "/" && ts[2].class == number && ts[0].space && !ts[1].space && !ts[2].space &&
		ts[0].decimals == 0 && ts[2].decimals == 0 && ts[2].value.Sign() > 0 && !(len(ts) > 3 && ts[3].text == "/")
}

func (e *evaluator) fraction(t *token) (*big.Rat, error) {
	inner := func(ts []token) (*big.Rat, error) {
		in := &evaluator{ts: ts, fuel: e.fuel, depth: e.depth + 1}
		if in.depth > maxDepth {
			return nil, errTooLarge
		}
		return in.all()
	}
	n, err := inner(t.num)
	if err != nil {
		return nil, err
	}
	d, err := inner(t.den)
	if err != nil {
		return nil, err
	}
	if d.Sign() == 0 {
		return nil, errZero
	}
	return e.spend(n, d, (*big.Rat).Quo)
}

// spend does an operation that there is fuel for.
func (e *evaluator) spend(a, b *big.Rat, op func(z, x, y *big.Rat) *big.Rat) (*big.Rat, error) {
	if err := e.burn(size(a), size(b)); err != nil {
		return nil, err
	}
	v := op(new(big.Rat), a, b)
	if size(v) > 2*maxBits {
		return nil, errTooLarge
	}
	return v, nil
}

func (e *evaluator) burn(a, b int64) error {
	if *e.fuel -= int((a/64 + 1) * (b/64 + 1)); *e.fuel < 0 {
		return errTooLarge
	}
	return nil
}

func size(r *big.Rat) int64 { return int64(r.Num().BitLen() + r.Denom().BitLen()) }
