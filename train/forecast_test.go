package train

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/student"
)

// What is forecast of a training is what it then does.
func TestForecastCounts(t *testing.T) {
	r := openRun(t, "i-two-epochs")
	for _, options := range []string{
		"{}", "{num_train_epochs: 1.5, per_device_train_batch_size: 2, gradient_accumulation_steps: 3}", "{max_steps: 7, per_device_train_batch_size: 1}",
		"{max_length: 150, dataloader_drop_last: true, per_device_train_batch_size: 4}", "{packing: true, max_length: 64, per_device_train_batch_size: 1}",
	} {
		o := pasted(t, options)
		o.Student = tiny
		s := load(t, o)
		g := Training{Options: o, Model: s.Model, Rows: r.encoded(t, s), Hooks: Hooks{Now: ticking()}}
		f, err := g.Forecast(true)
		if err != nil {
			t.Fatal(err)
		}
		result, err := g.Fit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got := []int64{int64(f.Rows), int64(f.Updates), f.Tokens, f.TrainedTokens, int64(f.Truncated), f.Cut}
		want := []int64{int64(result.Rows), int64(result.Steps), result.Tokens, result.TrainedTokens, int64(result.Truncated), result.Cut}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: forecast %v, done %v", options, got, want)
		}
		if f.work.passes < 1 || f.work.passes > int64(len(g.Rows)*f.Updates) || f.PeakMiB < f.ModelMiB+f.GradientsMiB {
			t.Errorf("%s: %+v", options, f)
		}
	}
}

func TestMemoryThatIsNotThere(t *testing.T) {
	r := openRun(t, "i-two-epochs")
	o := pasted(t, "{}")
	o.Student = tiny
	s := load(t, o)
	g := Training{Options: o, Model: s.Model, Rows: r.encoded(t, s), free: func() int64 { return 1 << 20 }}
	_, err := g.Fit(context.Background())
	if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), "and 1 MiB are there") || !strings.Contains(err.Error(), "lower max_length (the longest row has ") {
		t.Errorf("%v", err)
	}
	g.bound = true
	if f, err := g.Forecast(true); err != nil || f.AvailableMiB != 1 || f.PeakMiB <= 1 {
		t.Errorf("a bound: %+v, %v", f, err)
	}
	big := Forecast{ModelMiB: 2000, GradientsMiB: 2000, OptimiserMiB: 4000, ActivationsMiB: 500, PassTokens: 512, Longest: 512}
	if text := big.smaller(); !strings.Contains(text, "train an adapter") || strings.Contains(text, "max_length") {
		t.Errorf("%s", text)
	}
}

// What is written and evaluated in between is forecast as it then happens.
func TestForecastOfIntervals(t *testing.T) {
	r := openRun(t, "i-two-epochs")
	eval := "eval_data: {path: " + golden + "sft/data/pc-eval.jsonl}, "
	for options, saved := range map[string]int{
		eval + "eval_strategy: steps, eval_steps: 2, max_steps: 5, save_steps: 2":                        2,
		eval + "eval_strategy: steps, eval_steps: 0.4, max_steps: 5, save_steps: 5, eval_on_start: true": 0,
		eval + "eval_strategy: epoch, eval_delay: 2, num_train_epochs: 3, save_strategy: epoch":          2,
		eval + "eval_strategy: 'no', eval_on_start: true, num_train_epochs: 2, save_strategy: 'no'":      0,
		"max_steps: 6, save_steps: 1": 5,
	} {
		o := pasted(t, "{per_device_train_batch_size: 4, learning_rate: 1e-3, "+options+"}")
		o.Student = tiny
		s := load(t, o)
		rows := r.encoded(t, s)
		evaluated, said := 0, []string{}
		g := Training{Options: o, Model: s.Model, Rows: rows, dir: t.TempDir(), Hooks: Hooks{Now: ticking(), Eval: func(EvalLine) error { evaluated++; return nil }}}
		if o.EvalData.Path != "" {
			g.Eval, _ = encodedBy(t, s, o.evaluation(), readAll(t, o.EvalData))
		}
		var err error
		if g.Checkpoints, err = NewCheckpoints(g, t.TempDir(), ""); err != nil {
			t.Fatal(err)
		}
		g.Checkpoints.Say = func(text string) { said = append(said, text) }
		f, err := g.Forecast(true)
		if err == nil {
			err = g.Pace(&f)
		}
		if err != nil {
			t.Fatal(err)
		}
		result, err := g.Fit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if f.Evaluations != evaluated || f.Checkpoints != len(said) || len(said) != saved {
			t.Errorf("%s: %d evaluations and %d checkpoints are forecast, %d and %v came", options, f.Evaluations, f.Checkpoints, evaluated, said)
		}
		for what, pair := range map[string][2]float64{
			"updates": {f.Times.Updates, result.Times.Updates}, "evaluations": {f.Times.Evaluations, result.Times.Evaluations}, "checkpoints": {f.Times.Checkpoints, result.Times.Checkpoints},
		} {
			if (pair[0] > 0) != (pair[1] > 0) {
				t.Errorf("%s: %s are forecast to take %v s, and took %v", options, what, pair[0], pair[1])
			}
		}
		if f.Times.Saving <= 0 || f.Times.Questions != 0 || f.Seconds != f.Times.Sum() || result.Seconds != result.Times.Sum() {
			t.Errorf("%s: %+v and %+v", options, f.Times, result.Times)
		}
	}
}

// The largest of training, merging and asking is what a training takes.
func TestForecastOfMemory(t *testing.T) {
	o := pasted(t, "{peft: {r: 2, target_modules: all-linear, merge: true}}")
	o.Student = tiny
	s := load(t, o)
	rows := []Example{{Tokens: make([]int32, 8), Labels: make([]int32, 8)}}
	// A large base is all that counts beside what 8 tokens take.
	big := s.Model.Config
	big.HiddenSize, big.IntermediateSize, big.NumAttentionHeads, big.NumKeyValueHeads, big.HeadDim, big.VocabSize = 512, 2048, 8, 8, 64, 64
	on := &student.Model{Config: big, Params: student.Layout(big)}
	var err error
	if on.Adapter, err = o.PEFT.blank(context.Background(), on, nil); err != nil {
		t.Fatal(err)
	}
	of := func(change func(g *Training)) Forecast {
		g := Training{Options: o, Model: on, Rows: rows, free: func() int64 { return 1 << 40 }}
		peft := *o.PEFT
		g.Options.PEFT = &peft
		change(&g)
		f, err := g.Forecast(true)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	merged, apart := of(func(*Training) {}), of(func(g *Training) { g.Options.PEFT.Merge = false })
	asked := of(func(g *Training) { g.Options.PEFT.Merge = false; g.asked = 2 })
	if apart.MergingMiB != 0 || merged.MergingMiB < 9*apart.ModelMiB/10 || merged.StudentMiB != merged.ModelMiB || apart.StudentMiB != apart.GradientsMiB {
		t.Errorf("merged %+v, apart %+v", merged, apart)
	}
	if more := merged.PeakMiB - apart.PeakMiB; more < merged.MergingMiB/2 {
		t.Errorf("merging takes %d MiB more than training", more)
	}
	if asked.AskingMiB < asked.MergingMiB+9*asked.ModelMiB/10 || asked.PeakMiB <= merged.PeakMiB || apart.AskingMiB != 0 {
		t.Errorf("asked %+v", asked)
	}
	g := Training{Options: o, Model: on, Rows: rows, asked: 1, free: func() int64 { return merged.MergingMiB << 20 }}
	if _, err := g.Forecast(true); err == nil || !strings.Contains(err.Error(), "leave the questions out") || !strings.Contains(err.Error(), "while it is asked questions") {
		t.Errorf("too little to ask: %v", err)
	}
	g.asked, g.free = 0, func() int64 { return merged.MergingMiB << 19 }
	if _, err := g.Forecast(true); err == nil || !strings.Contains(err.Error(), "leave out merge") {
		t.Errorf("too little to merge: %v", err)
	}
}

func TestForecastIsTold(t *testing.T) {
	r := openRun(t, "i-two-epochs")
	o := pasted(t, "{num_train_epochs: 1}")
	o.Student = tiny
	s := load(t, o)
	var told []Forecast
	_, err := Fit(context.Background(), o, s.Model, r.encoded(t, s), Hooks{Now: ticking(), Forecast: func(f Forecast) { told = append(told, f) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !(told[0].Seconds > 0) || !(told[0].GEMM > 0) {
		t.Errorf("%+v", told)
	}
	for _, part := range []string{"updates on", "of them trained", "MiB at most", "GFLOP/s"} {
		if !strings.Contains(told[0].String(), part) {
			t.Errorf("%q is not in %q", part, told[0])
		}
	}
}

// A machine whose speed varies is warned of.
func TestForecastOfAnUnsteadyMachine(t *testing.T) {
	for varied, want := range map[float64]bool{0: false, 0.19: false, 0.25: true} {
		f := Forecast{Seconds: 3, Varied: varied}
		if got := strings.Contains(f.String(), "varied by 25 %"); got != want {
			t.Errorf("%v: %s", varied, f)
		}
	}
}

func TestTame(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	undo := tame(garbage * 20)
	if at := debug.SetGCPercent(5); at != 5 {
		t.Errorf("the collector runs at %d %% of a large training, not at 5", at)
	}
	undo()
	if at := debug.SetGCPercent(77); at != 77 {
		t.Errorf("the collector is left at %d %%", at)
	}
}
