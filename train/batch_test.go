package train

import (
	"math"
	"slices"
	"testing"
)

// Counts are those of transformers 5.23's Trainer.set_initial_training_values.
func TestPlan(t *testing.T) {
	for _, c := range []struct {
		options                   string
		rows                      int
		batches, perEpoch, update int
		last                      float64 // epoch of the last update
	}{
		{"{per_device_train_batch_size: 1, gradient_accumulation_steps: 8, num_train_epochs: 1}", 37, 37, 5, 5, 1},
		{"{per_device_train_batch_size: 4, gradient_accumulation_steps: 3, num_train_epochs: 2}", 37, 10, 4, 8, 2},
		{"{per_device_train_batch_size: 4, gradient_accumulation_steps: 3, num_train_epochs: 1.5}", 37, 10, 4, 6, 1.6},
		{"{per_device_train_batch_size: 4, num_train_epochs: 0.25}", 37, 10, 10, 3, 0.3},
		{"{per_device_train_batch_size: 4, max_steps: 13}", 37, 10, 10, 13, 1.3},
		{"{per_device_train_batch_size: 4, dataloader_drop_last: true, num_train_epochs: 1}", 37, 9, 9, 9, 1},
		{"{num_train_epochs: 1}", 3, 1, 1, 1, 1},
	} {
		o := pasted(t, c.options)
		p, err := o.Plan(c.rows)
		if err != nil || p.BatchesPerEpoch != c.batches || p.UpdatesPerEpoch != c.perEpoch || p.Updates != c.update {
			t.Errorf("%s: %+v, %v", c.options, p, err)
		}
		var last Window
		seen := map[int]int{}
		for w := range p.Windows() {
			if w.Update != last.Update+1 || w.Epoch <= last.Epoch {
				t.Errorf("%s: update %d at epoch %v comes after %d at %v", c.options, w.Update, w.Epoch, last.Update, last.Epoch)
			}
			last = w
			if w.Update <= p.UpdatesPerEpoch {
				for _, r := range w.rows() {
					seen[r]++
				}
			}
		}
		if last.Update != c.update || math.Abs(last.Epoch-c.last) > 1e-12 {
			t.Errorf("%s: the last update is %d at epoch %v", c.options, last.Update, last.Epoch)
		}
		for r, n := range seen {
			if n != 1 {
				t.Errorf("%s: row %d is visited %d times in an epoch", c.options, r, n)
			}
		}
	}
}

func TestSampling(t *testing.T) {
	o := pasted(t, "{train_sampling_strategy: sequential}")
	if got := o.order(4, 1); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("sequential: %v", got)
	}
	o = pasted(t, "{data_seed: 43, seed: 1}")
	if got := o.order(10, 0); !slices.Equal(got, Order(10, 43, 0)) {
		t.Errorf("data_seed: %v", got)
	}
}

// The schedules against numbers of transformers 5.23's get_scheduler.
func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		options string
		want    []float64
	}{
		{"{learning_rate: 1}", []float64{1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1}},
		{"{learning_rate: 1, warmup_steps: 2}", []float64{0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125}},
		{"{learning_rate: 1, warmup_steps: 0.15}", []float64{0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125}},
		{"{learning_rate: 1, warmup_ratio: 0.2}", []float64{0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125}},
		{"{learning_rate: 1, lr_scheduler_type: constant, warmup_steps: 2}", []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"{learning_rate: 1, lr_scheduler_type: constant_with_warmup, warmup_steps: 4}", []float64{0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1}},
		{"{learning_rate: 1, lr_scheduler_type: cosine, warmup_steps: 2}", []float64{0, 0.5, 1, 0.9619397662556434, 0.8535533905932737, 0.6913417161825449, 0.5, 0.3086582838174551, 0.14644660940672627, 0.03806023374435663}},
		{"{learning_rate: 1, warmup_steps: 100}", []float64{0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09}},
	} {
		s := pasted(t, c.options).Schedule(len(c.want))
		for i, want := range c.want {
			if got := s.At(i); far(got, want, 1e-12) {
				t.Errorf("%s: update %d: %v, not %v", c.options, i, got, want)
			}
		}
	}
	for options, want := range map[string]int{"{}": 10, "{logging_steps: 3}": 3, "{logging_steps: 0.1}": 3, "{logging_steps: 0.001}": 1} {
		if got := pasted(t, options).lines(25).every; got != want {
			t.Errorf("%s: a line every %d updates, not %d", options, got, want)
		}
	}
}
