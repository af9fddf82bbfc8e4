package options

import (
	"errors"
	"fmt"
	"testing"

	"stillhouse"
)

func TestProblems(t *testing.T) {
	err := Under("curate", Under("rewards[1]", Under("math", Wrongf("weight", "is %d: it must be positive", -1))))
	const want = "curate.rewards[1].math.weight: is -1: it must be positive"
	if err.Error() != want || stillhouse.KindOf(fmt.Errorf("check: %w", err)) != stillhouse.Invalid {
		t.Errorf("%v: %v", stillhouse.KindOf(err), err)
	}
	err = At(parse(t, "curate:\n  rewards:\n  - regex\n  - math: {name: x,\n      weight: -1}\n"), err)
	if got := ProblemsOf(err).In("a.yaml"); got != "a.yaml: line 5: "+want {
		t.Error(got)
	}
	if err := Under("list", Wrongf("[2]", "is wrong")); err.Error() != "list[2]: is wrong" {
		t.Error(err)
	}
	other := errors.New("other")
	if Under("a", nil) != nil || At(parse(t, "a: 1"), nil) != nil || Under("a", other) != other || ProblemsOf(other) != nil {
		t.Error("an error that is no problem was changed")
	}
}

func TestLocate(t *testing.T) {
	n := parse(t, "train:\n  steps: 1\n  name: x\nlist:\n- a\n- kind:\n    key: 1\n- &here\n  k: 2\nalias: *here\n")
	for path, want := range map[string]int{
		"train.name": 3, "train.rate": 1, "train.name.deeper": 3, "other": 1, "": 1,
		"list": 4, "list[0]": 5, "list[1]": 6, "list[1].kind.key": 7, "list[1].kind.other": 6, "list[9]": 4, "list[x]": 4, "list[": 4, "train[0]": 1,
		"list[2].k": 9, "alias.k": 9, "alias.x": 10, "[0]": 1,
	} {
		if got := Locate(n, path); got != want {
			t.Errorf("%s: line %d, not %d", path, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	many := make([]string, listed+1)
	for i := range many {
		many[i] = fmt.Sprintf("key_%03d", i)
	}
	for _, c := range []struct {
		wrong string
		right []string
		want  string
	}{
		{"wieght", []string{"name", "weight"}, `did you mean "weight"?`},
		{"WEIGHT", []string{"name", "weight"}, `did you mean "weight"?`},
		{"colour", []string{"weight", "name"}, "what can stand here: name, weight"},
		{"colour", many, "docs/config.md has those that can stand here"},
		{"colour", nil, "nothing can stand here"},
	} {
		if got := Nearest(c.wrong, c.right); got != c.want {
			t.Errorf("%s: %s", c.wrong, got)
		}
	}
}
