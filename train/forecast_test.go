package train

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"stillhouse"
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
		if f.passes < 1 || f.passes > int64(len(g.Rows)*f.Updates) || f.PeakMiB < f.ModelMiB+f.GradientsMiB {
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
	big := Forecast{ModelMiB: 2000, GradientsMiB: 2000, OptimiserMiB: 4000, ActivationsMiB: 500, PassTokens: 512, Longest: 512}
	if text := big.smaller(); !strings.Contains(text, "train an adapter") || strings.Contains(text, "max_length") {
		t.Errorf("%s", text)
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
