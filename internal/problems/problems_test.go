package problems

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

func rows(t *testing.T, g Generator, n int) []Row {
	t.Helper()
	out, err := g.Rows(n)
	require.NoError(t, err)
	require.Len(t, out, n)
	return out
}

var line = regexp.MustCompile(`^(\d+)([-+*])(\d+)=(\d+)$`)

// follow reads an answer as a person would: each line's start is the last line's result. It returns how many lines
// are wrong, and the final number.
func follow(t *testing.T, p Problem, answer string) (wrong, final int) {
	t.Helper()
	parts := strings.Split(answer, ". ")
	require.Len(t, parts, len(p.Steps)+1, answer)
	x := p.Start
	for i, s := range p.Steps {
		m := line.FindStringSubmatch(parts[i])
		require.NotNil(t, m, answer)
		require.Equal(t, fmt.Sprintf("%d%c%d", x, s.Op, s.Operand), m[1]+m[2]+m[3], answer)
		y, err := strconv.Atoi(m[4])
		require.NoError(t, err)
		require.True(t, 0 <= y && y <= Most, answer)
		if y != s.Op.apply(x, s.Operand) {
			wrong++
		}
		x = y
	}
	require.Equal(t, fmt.Sprint("#### ", x), parts[len(p.Steps)])
	return wrong, x
}

func TestRightAnswersAreRight(t *testing.T) {
	steps := map[int]int{}
	for _, r := range rows(t, Generator{Seed: 1}, 3000) {
		wrong, final := follow(t, r.Problem, r.Given)
		require.Zero(t, wrong, r.Given)
		require.Equal(t, r.Result(), final)
		steps[len(r.Steps)]++
		for _, s := range r.Steps {
			require.Contains(t, r.Question, strconv.Itoa(s.Operand))
		}
	}
	require.Len(t, steps, 3)
	for n, count := range steps {
		require.InDelta(t, 1000, count, 150, "problems of %d steps", n)
	}
}

// A slip is one wrong line that is carried on, and the final number is wrong.
func TestSlips(t *testing.T) {
	for _, r := range rows(t, Generator{Seed: 2, Slip: 1}, 3000) {
		wrong, final := follow(t, r.Problem, r.Given)
		require.Equal(t, 1, wrong, r.Given)
		require.NotEqual(t, r.Result(), final, r.Given)
	}
	slipped := 0
	for _, r := range rows(t, Generator{Seed: 2, Slip: 0.25}, 4000) {
		if r.Given != r.Answer() {
			slipped++
		}
	}
	require.InDelta(t, 1000, slipped, 110) // four standard deviations
}

func TestSplitsShareNoCalculation(t *testing.T) {
	held := map[string]bool{}
	for _, r := range rows(t, Generator{Seed: 3, Split: Test}, 2000) {
		require.True(t, r.HeldOut())
		held[r.Calculation()] = true
	}
	for seed := range uint64(5) {
		for _, r := range rows(t, Generator{Seed: seed, Slip: 0.5}, 4000) {
			require.False(t, held[r.Calculation()], r.Question)
		}
	}
}

func TestUnique(t *testing.T) {
	g := &Generator{Seed: 4, Unique: true}
	seen := map[string]bool{}
	for range 2 { // across calls too
		more, err := g.Rows(1000)
		require.NoError(t, err)
		for _, r := range more {
			require.False(t, seen[r.Calculation()], r.Question)
			seen[r.Calculation()] = true
		}
	}
}

func TestSameSeedSameRows(t *testing.T) {
	a, b := rows(t, Generator{Seed: 5, Slip: 0.5}, 200), rows(t, Generator{Seed: 5, Slip: 0.5}, 200)
	require.Equal(t, a, b)
	require.NotEqual(t, a, rows(t, Generator{Seed: 6, Slip: 0.5}, 200))

	g := &Generator{Seed: 5, Slip: 0.5}
	first, err := g.Rows(120)
	require.NoError(t, err)
	second, err := g.Rows(80)
	require.NoError(t, err)
	require.Equal(t, a, append(first, second...), "in two calls as in one")
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for want, g := range map[string]Generator{
		`split "dev"`: {Split: "dev"}, "slip 1.5": {Slip: 1.5}, "slip -1": {Slip: -1},
	} {
		_, err := g.Rows(1)
		require.ErrorContains(t, err, want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
}
