package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// counting is a case whose runs return the number of runs so far, and write down who ran.
func counting(ran *[]string, name string, peers ...string) Case[float64] {
	run := func(who string) func(context.Context) (float64, error) {
		return func(context.Context) (float64, error) {
			*ran = append(*ran, who)
			return float64(len(*ran)), nil
		}
	}
	c := Case[float64]{Name: name, Ours: run("ours")}
	for _, p := range peers {
		c.Peers = append(c.Peers, Runner[float64]{p, run(p)})
	}
	return c
}

func TestPairsAlternate(t *testing.T) {
	var ran, said []string
	cases := []Case[float64]{counting(&ran, "a", "x", "y"), counting(&ran, "alone")}
	all, err := Run(t.Context(), cases, 3, func(c, who string, _ float64) { said = append(said, c+" "+who) })
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Fields("ours x y y x ours ours x y ours"); !slices.Equal(ran, want) {
		t.Errorf("%v ran", ran)
	}
	if len(said) != 10 || said[3] != "a y" || said[9] != "alone ours" {
		t.Errorf("said was %q", said)
	}
	if len(all) != 4 || all.Count("a") != 3 || all.Count("alone") != 1 || all.Count("b") != 0 {
		t.Errorf("%v", all)
	}
	// Ours was the 1st, 6th and 7th run, y the 3rd, 4th and 9th.
	if m := all.Median("a", func(p Pair[float64]) float64 { return p.Ours }); m != 6 {
		t.Errorf("the median is %v", m)
	}
	if m := all.Median("a", func(p Pair[float64]) float64 { return p.Peers["y"] - p.Ours }); m != 2 {
		t.Errorf("the median of the differences is %v", m)
	}
	if m := all[:2].Median("a", func(p Pair[float64]) float64 { return p.Ours }); m != 3.5 {
		t.Errorf("the median of two is %v", m)
	}
	if m := all.Median("b", func(Pair[float64]) float64 { return 1 }); !math.IsNaN(m) {
		t.Errorf("the median of nothing is %v", m)
	}
}

func TestAFailedRunKeepsThePairsBefore(t *testing.T) {
	var ran []string
	bad := counting(&ran, "bad", "x")
	bad.Peers[0].Run = func(context.Context) (float64, error) { return 0, errors.New("no such file") }
	all, err := Run(t.Context(), []Case[float64]{counting(&ran, "good", "x"), bad}, 2, func(string, string, float64) {})
	if err == nil || err.Error() != "bad: x: no such file" {
		t.Errorf("the error is %v", err)
	}
	if len(all) != 2 || all.Count("good") != 2 {
		t.Errorf("kept were %v", all)
	}
}

func TestWanted(t *testing.T) {
	for _, tc := range []struct {
		only, name string
		want       bool
	}{{"", "a", true}, {"a,b", "b", true}, {"a,b", "c", false}, {"ab", "a", false}} {
		if got := Wanted(tc.only, tc.name); got != tc.want {
			t.Errorf("%q of %q: %t", tc.name, tc.only, got)
		}
	}
}

func TestCommand(t *testing.T) {
	large := make([]byte, 128<<20)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1
	}
	defer runtime.KeepAlive(large)
	seen, looked := 0, filepath.Join(t.TempDir(), "looked")
	c := Command{Args: []string{"sh", "-c", "echo $WORD; until test -e $LOOKED; do :; done"}, Env: []string{"WORD=said", "LOOKED=" + looked}}
	// The program goes on once it has been looked at.
	c.Every = func(pid int) {
		if ProcessorTime(pid) > 0 {
			seen++
			if err := os.WriteFile(looked, nil, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	end, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if end.Out != "said\n" || seen == 0 || end.CPU <= 0 || end.Wall <= 0 {
		t.Errorf("seen %d times, %+v", seen, end)
	}
	// A shell holds a few MiB, whatever this process holds.
	if end.PeakMiB < 1 || end.PeakMiB > 64 {
		t.Errorf("the shell held %d MiB", end.PeakMiB)
	}
	_, err = Command{Args: []string{"sh", "-c", "echo wrong >&2; exit 3"}}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3\nwrong") {
		t.Errorf("the error is %v", err)
	}
	if s := ProcessorTime(-1); s != 0 {
		t.Errorf("a process that is not there has worked %v s", s)
	}
}

func TestPublish(t *testing.T) {
	o, dir := Object{"threads": 2}, filepath.Join(t.TempDir(), "pages")
	o.Set("ratio", 1.23456, 2)
	o.Set("unmeasured", math.NaN(), 2)
	var out bytes.Buffer
	if err := Publish(dir, "thing", time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), o, "# A page\n", &out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "2026-03-04-thing.md"))
	if err != nil {
		t.Fatal(err)
	}
	const line = `{"ratio":1.23,"threads":2}`
	if want := "# A page\n\nThe last line:\n\n```json\n" + line + "\n```\n"; string(page) != want {
		t.Errorf("the page is %q", page)
	}
	if !json.Valid(out.Bytes()) || out.String() != line+"\n" {
		t.Errorf("the last line is %q", out.String())
	}
}
