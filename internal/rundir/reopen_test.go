package rundir

import (
	"context"
	"strings"
	"testing"
)

// TestReopen takes one of two shards of the candidates away, and ends the removal after every step of it: what is left is
// a run that has not got so far, with the other shard as it was.
func TestReopen(t *testing.T) {
	whole := opened(t, t.TempDir(), config, fanout)
	fill(t, whole)
	for after := 0; ; after++ {
		d := copied(t, whole)
		left := after
		d.disk = &faulty{fail: func(string, string) bool { left--; return left < 0 }}
		done := d.Reopen("distill", []int{0}) == nil
		_ = d.Close()
		d = opened(t, d.Path(), config, fanout)
		if _, err := d.Check(context.Background()); err != nil {
			t.Errorf("ended after %d steps: %v", after, err)
		}
		if !done {
			if err := d.Reopen("distill", []int{0}); err != nil {
				t.Errorf("once more after %d steps: %v", after, err)
			}
		}
		accounts, err := d.Accounts("candidates", "distill")
		if err != nil || len(accounts) != 1 || accounts[1].Kept != 10 {
			t.Errorf("the candidates' shards are %v, %v", accounts, err)
		}
		for name, there := range map[string]bool{"prompts/part-00000.parquet": true, "candidates/part-00000.parquet": false, "candidates/part-00001.parquet": true,
			"failed/distill/part-00000.parquet": false, "failed/distill/part-00001.parquet": true, "scored": false, "samples": false, "kept": false,
			"dropped/curate": false, "student": false, "evals": false} {
			if exists(d, name) != there {
				t.Errorf("%s is there: %t", name, !there)
			}
		}
		if l, err := d.Check(context.Background()); err != nil || len(l.Entries) != 2 {
			t.Errorf("the ledger is %v, %v", l, err)
		}
		_ = d.Close()
		if done {
			if after < 10 {
				t.Errorf("it took %d steps only", after)
			}
			return
		}
	}
}

// TestEarlier holds a change of a key that an earlier step looks at against that step.
func TestEarlier(t *testing.T) {
	changed := strings.Replace(config, "0.8", "0.7", 1)
	for from, earlier := range map[string]map[string]string{
		"filter":  nil,
		"distill": {"filter": "distill"},
		"curate":  {"filter[1].minhash": "curate", "train": "distill"},
	} {
		path := t.TempDir()
		_ = opened(t, path, config, Options{}).Close()
		_, err := Open(path, []byte(changed), Options{Earlier: earlier})
		if err == nil || !strings.HasSuffix(err.Error(), "use --from "+from) {
			t.Errorf("%v: %v", earlier, err)
		}
	}
}
