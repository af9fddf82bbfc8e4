package answer

import (
	"math/big"
	"strings"
)

// A unit is what stands behind a number. The zero unit is none.
type unit struct {
	label  string         // as written
	dims   map[string]int // powers of base dimensions; nil for a label that says nothing of value, such as apples
	factor *big.Rat       // base units in one of these
	offset *big.Rat       // of a temperature scale, in base units; nil elsewhere
}

func (u unit) none() bool { return u.label == "" }

type measure struct {
	dim      string
	power    int
	num, den int64
	names    string
}

// measures are the units that are converted into each other. Sources: SI, and the exact definitions of the
// international yard and pound (1959) and of the US liquid gallon.
var measures = []measure{
	{"length", 1, 1, 1000, "mm millimeter millimeters millimetre millimetres"},
	{"length", 1, 1, 100, "cm centimeter centimeters centimetre centimetres"},
	{"length", 1, 1, 1, "m meter meters metre metres"},
	{"length", 1, 1000, 1, "km kilometer kilometers kilometre kilometres"},
	{"length", 1, 254, 10000, "inch inches"},
	{"length", 1, 3048, 10000, "ft foot feet"},
	{"length", 1, 9144, 10000, "yd yard yards"},
	{"length", 1, 1609344, 1000, "mi mile miles"},
	{"mass", 1, 1, 1000000, "mg milligram milligrams"},
	{"mass", 1, 1, 1000, "g gram grams"},
	{"mass", 1, 1, 1, "kg kilogram kilograms kilo kilos"},
	{"mass", 1, 45359237, 100000000, "lb lbs pound pounds"},
	{"mass", 1, 45359237, 1600000000, "oz ounce ounces"},
	{"length", 3, 1, 1000000, "ml milliliter milliliters millilitre millilitres mL"},
	{"length", 3, 1, 1000, "l L liter liters litre litres"},
	{"length", 3, 3785411784, 1000000000000, "gal gallon gallons"},
	{"time", 1, 1, 1, "s sec secs second seconds"},
	{"time", 1, 60, 1, "min mins minute minutes"},
	{"time", 1, 3600, 1, "h hr hrs hour hours"},
	{"time", 1, 86400, 1, "day days"},
	{"time", 1, 604800, 1, "week weeks"},
	{"money", 1, 1, 1, "$ dollar dollars USD usd bucks"},
	{"money", 1, 1, 100, "¢ cent cents"},
	{"euro", 1, 1, 1, "€ euro euros EUR eur"},
	{"sterling", 1, 1, 1, "£ GBP"},
	{"yen", 1, 1, 1, "¥ yen JPY"},
	{"rupee", 1, 1, 1, "₹ rupee rupees INR"},
	{"angle", 1, 1, 1, "° degree degrees deg"},
	{"area", 1, 1, 1, "acre acres"},
}

var known = func() map[string]unit {
	m := map[string]unit{}
	for _, x := range measures {
		for _, name := range strings.Fields(x.names) {
			m[name] = unit{label: name, dims: map[string]int{x.dim: x.power}, factor: big.NewRat(x.num, x.den)}
		}
	}
	m["mph"] = unit{label: "mph", dims: map[string]int{"length": 1, "time": -1}, factor: big.NewRat(1609344, 3600000)}
	m["kph"] = unit{label: "kph", dims: map[string]int{"length": 1, "time": -1}, factor: big.NewRat(1000, 3600)}
	m["kmh"] = m["kph"]
	m["°C"] = unit{label: "°C", dims: map[string]int{"temperature": 1}, factor: big.NewRat(1, 1), offset: new(big.Rat)}
	m["°F"] = unit{label: "°F", dims: map[string]int{"temperature": 1}, factor: big.NewRat(5, 9), offset: big.NewRat(-160, 9)}
	return m
}()

// symbols are words that stand for values or functions: a number beside one is part of something else.
var symbols = map[string]bool{"pi": true, "sin": true, "cos": true, "tan": true, "cot": true, "log": true, "ln": true, "exp": true,
	"sqrt": true, "cbrt": true, "root": true, "squared": true, "cubed": true, "inf": true, "infinity": true, "mod": true, "dozen": true, "dozens": true,
	"theta": true, "alpha": true, "beta": true, "gamma": true, "lambda": true, "choose": true, "factorial": true, "base": true, "plus": true, "minus": true,
	"times": true, "divided": true, "multiplied": true, "over": true, "percent": true, "percentage": true, "hundredths": true, "tenths": true,
	"halves": true, "thirds": true, "quarters": true, "fourths": true, "fifths": true, "sixths": true, "eighths": true}

// readUnit reads the unit that ts begins with and says how many tokens it is made of. ok is false when what stands
// there may change the number's value.
func readUnit(ts []token) (u unit, used int, ok bool) {
	if len(ts) == 0 {
		return unit{}, 0, true
	}
	if ts[0].class == degree {
		if len(ts) > 1 && ts[1].class == word {
			if t, is := known["°"+ts[1].text]; is {
				return t, 2, true
			}
		}
		return known["°"], 1, true
	}
	if ts[0].class == currency {
		return known[ts[0].text], 1, true
	}
	u = unit{dims: map[string]int{}, factor: big.NewRat(1, 1)}
	sign, next := 1, 1
	dimensions := true
	for used < len(ts) {
		t := ts[used]
		lower := strings.ToLower(t.text)
		switch {
		case t.class == word && (lower == "per" || lower == "an" && !u.none()) && used+1 < len(ts) && ts[used+1].class == word,
			t.class == operator && t.text == "/" && !u.none() && used+1 < len(ts) && ts[used+1].class == word:
			sign = -1
			used++
			continue
		case t.class == word && lower == "square" || t.class == word && lower == "sq":
			next = 2
			used++
			continue
		case t.class == word && lower == "cubic":
			next = 3
			used++
			continue
		case t.class != word:
			return end(u, used, dimensions)
		}
		x, is := lookup(t.text)
		if t.text == "in" && t.upright && used+1 >= len(ts) {
			x, is = known["inch"], true
		}
		if symbols[lower] || !is && len([]rune(t.text)) == 1 && t.text != "a" && t.text != "I" {
			return unit{}, 0, false
		}
		if !t.upright && len([]rune(t.text)) == 1 && (t.formula > 0 || !t.space) && is {
			return unit{}, 0, false // a variable
		}
		if t.formula > 0 && !t.upright && !is && !t.space {
			return unit{}, 0, false // a product of variables
		}
		if !is {
			if u.none() {
				return unit{label: t.text}, used + 1, true
			}
			return end(u, used, dimensions && sign > 0)
		}
		power := next
		switch {
		case u.none():
			u.label = t.text
		case sign < 0:
			u.label += "/" + t.text
		}
		used++
		if used+1 < len(ts) && ts[used].text == "^" {
			n := 0
			if used, n, is = exponent(ts, used); !is {
				return unit{}, 0, false
			}
			power *= n
		}
		for d, p := range x.dims {
			u.dims[d] += p * power * sign
		}
		for range max(power, -power) {
			if sign*power > 0 {
				u.factor = new(big.Rat).Mul(u.factor, x.factor)
			} else {
				u.factor = new(big.Rat).Quo(u.factor, x.factor)
			}
		}
		next = 1
		if sign < 0 || used >= len(ts) || ts[used].text != "/" && !strings.EqualFold(ts[used].text, "per") && !strings.EqualFold(ts[used].text, "an") {
			return end(u, used, dimensions)
		}
	}
	return end(u, used, dimensions)
}

func end(u unit, used int, dimensions bool) (unit, int, bool) {
	if u.none() {
		return unit{}, used, true
	}
	if !dimensions {
		u.dims = nil
	}
	return u, used, true
}

// exponent reads the power of a unit, of one digit.
func exponent(ts []token, at int) (used, n int, ok bool) {
	at++
	group := ts[at].class == opening
	if group {
		at++
	}
	if at >= len(ts) || ts[at].class != number || !ts[at].value.IsInt() || ts[at].value.Cmp(big.NewRat(9, 1)) > 0 || ts[at].value.Sign() <= 0 {
		return 0, 0, false
	}
	n = int(ts[at].value.Num().Int64())
	if at++; group {
		if at >= len(ts) || ts[at].class != closing {
			return 0, 0, false
		}
		at++
	}
	return at, n, true
}

func lookup(name string) (unit, bool) {
	u, ok := known[name]
	if !ok && len(name) > 2 {
		u, ok = known[strings.ToLower(name)]
	}
	return u, ok
}

// base converts v from u to base units.
func (u unit) base(v *big.Rat) *big.Rat {
	w := new(big.Rat).Mul(v, u.factor)
	if u.offset != nil {
		w.Add(w, u.offset)
	}
	return w
}

// compatible reports whether two units measure the same.
func (u unit) compatible(v unit) bool {
	for d, p := range u.dims {
		if v.dims[d] != p {
			return false
		}
	}
	for d, p := range v.dims {
		if u.dims[d] != p {
			return false
		}
	}
	return true
}
