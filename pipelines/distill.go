package pipelines

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/distill"
	"stillhouse/internal/rundir"
	"stillhouse/internal/traces"
)

// requestsFile is where a run keeps what it asked of its teacher and spent, over all its processes. It stays when the
// step is made again: what is spent is spent.
const requestsFile = "requests.json"

var _ distill.Judge = (*curate.Acceptor)(nil)

// distill asks the teacher.
func (r *run) distill(ctx context.Context) (err error) {
	in, err := r.dir.Source("prompts")
	if err != nil {
		return err
	}
	o := r.config.Distill
	if o.Endpoint == distill.Embedded {
		t, err := serveTeacher(ctx, &o)
		if err != nil {
			return err
		}
		defer t.Close()
	}
	judge, endJudge, err := r.config.judge(ctx)
	if err != nil {
		return err
	}
	outside := r.outside()
	defer func() { err = errors.Join(err, endJudge(), outside.Close()) }()
	book, err := distill.OpenBook(r.dir.Path(requestsFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	if err := r.reopen(book); err != nil {
		return err
	}
	stage := &distill.Distill{Options: o}
	rows, err := r.kept("prompts")
	if err != nil {
		return err
	}
	stage.Expect(rows)
	if judge != nil {
		judge.AskThrough(outside)
		stage.Join(judge)
	}
	stage.Remember(book)
	t, err := traces.Start(ctx)
	if err != nil { // what is worth more than its traces goes on without them
		r.ui.say("no traces: %v", err)
	}
	if t != nil {
		stage.Trace(t.Tracer(), traces.Content())
		defer func() {
			if err := t.Close(); err != nil {
				r.ui.say("%v", err)
			}
		}()
	}
	// What is live is little, what is made for a request and thrown away is much: an earlier collection costs some
	// processor time and keeps the program below 100 MB.
	r.garbage.set(distillPercent)
	defer r.garbage.restore()
	b := r.ui.bar("distill", rows*stage.Fanout())
	if b.end, err = r.watch(stage, b); err != nil {
		return err
	}
	if err := stage.Open(ctx); err != nil {
		b.clear()
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	if err := stage.Fill(ctx, in, r.dir.Sink("candidates", "distill").Done, r.ui.say); err != nil {
		b.clear()
		return failed(ctx, err)
	}
	if _, err := r.with(ctx, b, in, stage, "candidates", "distill"); err != nil {
		return failed(ctx, err)
	}
	r.ui.spent(stage.Status(), o)
	outside.tell(r.ui)
	return nil
}

// terms are what the candidates' shards were made for. They lie among the shards, and go with them.
type terms struct {
	Target int `json:"target"`
}

const termsFile = "candidates/terms.json"

// reopen takes away the shards of candidates that are not what this config makes of the prompts, because they end at
// another target or at a budget that has something left now, so that they are made again. All that is in them lies in
// the response store. What later steps made of them goes as well.
func (r *run) reopen(book *distill.FileBook) error {
	spent, err := book.Load()
	if err != nil {
		return err
	}
	var was terms
	data, err := os.ReadFile(r.dir.Path(termsFile))
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return stillhouse.Invalidf("%s is damaged: %w: run again with --from distill", r.dir.Path(termsFile), err)
	}
	accounts, err := r.dir.Accounts("candidates", "distill")
	if err != nil {
		return err
	}
	o := r.config.Distill
	stale := staleShards(accounts, was.Target, o.Target.Accepted, o.Budget.Spent(spent, o.Prices))
	if len(stale) > 0 {
		if err := r.dir.Reopen("distill", stale); err != nil {
			return err
		}
	}
	if was.Target == o.Target.Accepted {
		return nil
	}
	data, err = json.Marshal(terms{o.Target.Accepted})
	if err != nil {
		return err
	}
	return rundir.WriteFile(r.dir.Path(termsFile), append(data, '\n'))
}

// staleShards are the shards that were made under other terms than those of now.
func staleShards(accounts map[int]stillhouse.Account, was, target int, spent bool) (stale []int) {
	for shard, a := range accounts {
		switch {
		case was != target && target > 0 && (was == 0 || target < was): // any of them may hold too much
		case was != target && a.Unasked[distill.TargetReached] > 0:
		case !spent && a.Unasked[distill.BudgetSpent] > 0:
		default:
			continue
		}
		stale = append(stale, shard)
	}
	slices.Sort(stale)
	if target == 0 || len(stale) == 0 {
		return stale
	}
	// What a shard brings to the target says where the later ones end.
	for shard := range accounts {
		if shard > stale[0] && !slices.Contains(stale, shard) {
			stale = append(stale, shard)
		}
	}
	slices.Sort(stale)
	return stale
}
