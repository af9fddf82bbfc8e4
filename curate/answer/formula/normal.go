package formula

import (
	"slices"
	"strings"
)

// An assignment says what a name stands for: x = 5, f(x) = x², (x, y) = (3, 4).
func assignment(n *Node) (name string, value *Node, ok bool) {
	if n.Kind != Statement || n.Name != "=" {
		return "", nil, false
	}
	if name, ok = lefthand(n.Args[0]); ok && !symbols(n.Args[1])[name] {
		return name, n.Args[1], true
	}
	if n.Args[1].Kind == Symbol && n.Args[0].scalar() && !symbols(n.Args[0])[n.Args[1].Name] {
		return n.Args[1].Name, n.Args[0], true
	}
	return "", nil, false
}

// lefthand is the name on the left of an assignment. A function's is its letter with its variables.
func lefthand(n *Node) (string, bool) {
	switch {
	case n.Kind == Symbol:
		return n.Name, true
	case n.Kind == Mul && len(n.Args) == 2 && n.Args[0].Kind == Symbol && n.Args[1].grouped:
		if arg := n.Args[1]; arg.Kind == Symbol || arg.Kind == Number {
			return n.Args[0].Name + "()", true
		}
	}
	return "", false
}

// normal writes what can be said in several ways in one: ± as two values, x ∈ S as S, a chain of equations as its ends,
// solutions in a list as a set.
func normal(n *Node) *Node {
	switch n.Kind {
	case Statement:
		return normalRelation(n)
	case All:
		if !slices.ContainsFunc(n.Args, func(r *Node) bool { return r.Name != "=" }) {
			return normal(&Node{Kind: Statement, Name: "=", Args: []*Node{n.Args[0].Args[0], n.Args[len(n.Args)-1].Args[1]}})
		}
		return n
	case List:
		return normalList(n)
	case Set, Tuple:
		m := *n
		m.Args = nil
		for _, a := range n.Args {
			if a = normal(a); a.Kind == Set && a.Name == "±" && n.Kind == Set {
				m.Args = append(m.Args, a.Args...)
			} else {
				m.Args = append(m.Args, a)
			}
		}
		return &m
	}
	if n.scalar() && n.has(func(m *Node) bool { return m.Kind == PlusMinus }) {
		return &Node{Kind: Set, Name: "±", Args: []*Node{signed(n, 1), signed(n, -1)}}
	}
	return simplify(n)
}

// signed is n with + or - in the place of every ±.
func signed(n *Node, sign int64) *Node {
	if n.Kind == PlusMinus {
		if n.Name == "-" {
			sign = -sign
		}
		return mul(whole(sign), signed(n.Args[0], sign))
	}
	if len(n.Args) == 0 {
		return n
	}
	return simplify(n.rebuild(func(a *Node) *Node { return signed(a, sign) }))
}

func normalRelation(n *Node) *Node {
	left, right := n.Args[0], n.Args[1]
	if left.Kind == Constant && left.Name == "i" || left.Kind == Constant && left.Name == "e" {
		left = &Node{Kind: Symbol, Name: left.Name}
	}
	switch {
	case n.Name == "∈" && left.Kind == Symbol:
		return normal(right)
	case n.Name != "=":
		return n
	case left.Kind == Tuple && right.Kind == Tuple && len(left.Args) == len(right.Args):
		names := make([]string, len(left.Args))
		for i, a := range left.Args {
			if a.Kind != Symbol {
				return n
			}
			names[i] = a.Name
		}
		m := *normal(right)
		m.Name = strings.Join(names, ",")
		return &m
	case left.scalar() && len(symbols(left)) == 0 && len(symbols(right)) == 0: // 2√2 = √8: what it comes to
		return normal(right)
	}
	if name, ok := lefthand(left); ok {
		value := normal(right)
		if strings.HasSuffix(name, "()") {
			left = &Node{Kind: Symbol, Name: name}
		}
		if value.Kind == Set && value.Name == "±" {
			return value
		}
		if !value.scalar() && value.Kind != Matrix && value.Kind != Tuple {
			return value
		}
		return &Node{Kind: Statement, Name: "=", Args: []*Node{left, value}}
	}
	return &Node{Kind: Statement, Name: "=", Args: []*Node{left, right}}
}

// normalList makes a list of x = 1 or x = 2 a set, of x = 1, y = 2 a tuple with names, of inequalities what they say
// together.
func normalList(n *Node) *Node {
	items := make([]*Node, 0, len(n.Args))
	var names []string
	var values []*Node
	inequalities, sets := 0, 0
	for i, a := range n.Args {
		a = normal(a)
		items = append(items, a)
		if name, value, ok := assignment(a); ok {
			names, values = append(names, name), append(values, value)
		} else if a.scalar() && len(names) == i && i > 0 && names[0] == names[i-1] && n.Args[0].Kind == Statement { // x = 1, 2
			names, values = append(names, names[0]), append(values, a)
		}
		if a.Kind == All || a.Kind == Statement && a.Name != "=" {
			inequalities++
		}
		if a.Kind == Interval || a.Kind == Union {
			sets++
		}
	}
	switch {
	case inequalities == len(items) && n.Name == "or", sets == len(items) && n.Name == "or":
		return &Node{Kind: Union, Args: items}
	case inequalities == len(items):
		return &Node{Kind: All, Args: items}
	case len(names) == len(items) && same(names):
		return &Node{Kind: Set, Args: values}
	case len(names) == len(items) && n.Name != "or" && distinct(names):
		order := make([]int, len(names))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(names[i], names[j]) })
		m := &Node{Kind: Tuple}
		var sorted []string
		for _, i := range order {
			m.Args, sorted = append(m.Args, values[i]), append(sorted, names[i])
		}
		m.Name = strings.Join(sorted, ",")
		return m
	}
	flat := &Node{Kind: List, Name: n.Name}
	for _, a := range items {
		if a.Kind == Set && a.Name == "±" {
			flat.Args = append(flat.Args, a.Args...)
		} else {
			flat.Args = append(flat.Args, a)
		}
	}
	return flat
}

func same(names []string) bool {
	return !slices.ContainsFunc(names, func(s string) bool { return s != names[0] })
}

func distinct(names []string) bool {
	sorted := slices.Sorted(slices.Values(names))
	return len(slices.Compact(sorted)) == len(names)
}
