package train

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"stillhouse/internal/kernel"
	"stillhouse/internal/student"
)

// onThreads trains the tiny model and returns its weights and its log.
func onThreads(t *testing.T, threads int, options string) ([]*student.Param, []byte) {
	t.Helper()
	defer kernel.SetThreads(kernel.Threads())
	kernel.SetThreads(threads)
	r := openRun(t, "i-two-epochs")
	o := pasted(t, options)
	o.Student = tiny
	s := load(t, o)
	var log bytes.Buffer
	_, err := Fit(context.Background(), o, s.Model, r.encoded(t, s), Hooks{
		Now: ticking(), Memory: func() (resident, peak int64) { return 1, 1 }, Line: func(l Line) error { return writeLine(&log, l.Step, l) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Model.Params, log.Bytes()
}

func TestDeterministic(t *testing.T) {
	const options = "{deterministic: true, num_train_epochs: 2, logging_steps: 1, learning_rate: 1e-3}"
	want, log := onThreads(t, 1, options)
	for _, threads := range []int{2, 3, 4, 7} {
		got, other := onThreads(t, threads, options)
		for i, p := range want {
			if !slices.Equal(p.Data, got[i].Data) {
				t.Errorf("%s is another on %d threads", p.Name, threads)
			}
		}
		if !bytes.Equal(log, other) {
			t.Errorf("on %d threads the log is\n%s, not\n%s", threads, other, log)
		}
	}
	if kernel.SetDeterministic(false) {
		t.Error("products are still cut into a fixed number of pieces after a training")
	}
}
