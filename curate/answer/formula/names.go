package formula

// macros that mean a character, "" for those that mean nothing.
var macros = map[string]string{
	"cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "±", "mp": "∓",
	"le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "lt": "<", "gt": ">", "ne": "≠", "neq": "≠",
	"in": "∈", "cup": "∪", "bigcup": "∪", "cap": "∩", "setminus": "∖", "backslash": "∖", "smallsetminus": "∖",
	"emptyset": "∅", "varnothing": "∅", "infty": "∞", "pi": "π", "R": "ℝ", "reals": "ℝ",
	"lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
	"langle": "⟨", "rangle": "⟩", "lbrace": "⦃", "rbrace": "⦄", "{": "⦃", "}": "⦄", "lbrack": "[", "rbrack": "]",
	"lparen": "(", "rparen": ")", "circ": "°", "degree": "°", "%": "%", "colon": ":", "land": "∧", "wedge": "∧", "lor": "∨", "vee": "∨",
	"approx": "≈", "equiv": "≡", "prime": "'",

	"left": "", "right": "", "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "middle": "",
	"displaystyle": "", "textstyle": "", "limits": "", "nolimits": "", "boldsymbol": "", "bf": "", "rm": "", "!": "", "(": "", ")": "", "[": "", "]": "",
	"angle": "", "triangle": "", "measuredangle": "",
	"quad": " ", "qquad": " ", ",": " ", ";": " ", ":": " ", " ": " ", "\n": " ", ">": " ", "thinspace": " ", "hspace": " ", "$": "",
}

// greek letters are variables, in TeX and in plain text.
var greek = map[string]bool{"alpha": true, "beta": true, "gamma": true, "delta": true, "epsilon": true, "varepsilon": true, "zeta": true, "eta": true,
	"theta": true, "vartheta": true, "kappa": true, "lambda": true, "mu": true, "nu": true, "xi": true, "rho": true, "sigma": true, "tau": true,
	"phi": true, "varphi": true, "chi": true, "psi": true, "omega": true, "Delta": true, "Gamma": true, "Omega": true, "Theta": true, "Phi": true,
	"Sigma": true, "Lambda": true, "Psi": true, "ell": true}

var greekRunes = map[rune]string{'α': "alpha", 'β': "beta", 'γ': "gamma", 'δ': "delta", 'θ': "theta", 'λ': "lambda", 'μ': "mu", 'φ': "phi", 'ϕ': "phi",
	'ω': "omega", 'σ': "sigma", 'ρ': "rho", 'τ': "tau", 'ε': "epsilon", 'ψ': "psi", 'Δ': "Delta"}

// named are names that the parser knows; the arguments of the functions stand behind them.
var named = map[string]bool{"frac": true, "sqrt": true, "cbrt": true, "binom": true, "int": true, "sum": true, "begin": true, "end": true, "overline": true, "prod": true,
	"sin": true, "cos": true, "tan": true, "cot": true, "sec": true, "csc": true, "arcsin": true, "arccos": true, "arctan": true,
	"sinh": true, "cosh": true, "tanh": true, "log": true, "ln": true, "lg": true, "exp": true, "abs": true, "floor": true, "ceil": true,
	"gcd": true, "lcm": true, "max": true, "min": true, "and": true, "or": true, "pmod": true, "det": true}

var aliases = map[string]string{"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "choose": "choose",
	"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "vec": "overline", "hat": "overline", "bar": "overline",
	"mathbf": "overline", "overrightarrow": "overline", "infinity": "∞", "inf": "∞", "pi": "π", "union": "∪", "degrees": "°", "degree": "°", "deg": "°"}

var textMacros = map[string]bool{"text": true, "textbf": true, "textit": true, "textrm": true, "mathrm": true, "mathit": true, "mathsf": true,
	"mbox": true, "operatorname": true, "hbox": true, "emph": true, "textnormal": true}

var boxMacros = map[string]bool{"boxed": true, "fbox": true, "underline": true, "boldsymbol": true, "mathcal": true}

// known adds a token for a name that means something.
func (l *lexer) known(lower, text string) bool {
	if as, ok := aliases[text]; ok {
		lower, text = as, as
	}
	switch {
	case lower == "π" || lower == "∞" || lower == "∪" || lower == "°":
		l.mark(lower)
	case greek[text]:
		l.add(letter, text)
	case named[lower] && len(lower) > 1:
		l.integral = l.integral || lower == "int"
		l.add(name, lower)
	default:
		return false
	}
	return true
}
