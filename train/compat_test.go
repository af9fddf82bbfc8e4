package train

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/student"
)

const compatGolden = "../compat/"

type compatRun struct {
	Rows     string
	N        int
	Set      map[string]any
	Versions map[string]string
	L2       map[string]float64
}

type compatUpdate struct {
	Step         int
	Loss         float64
	GradNorm     float64  `json:"grad_norm"`
	LearningRate float64  `json:"learning_rate"`
	Items        *float64 `json:"num_items_in_batch"`
}

// compatRuns are the runs of older releases, each with the compat that follows it, and with the switches that do.
var compatRuns = map[string]struct {
	compat   string
	switches map[string]any
}{
	"unshifted-count":  {"trl-0.17", map[string]any{"num_items_in_batch": "unshifted"}},
	"eos-ids":          {"trl-0.16", map[string]any{"num_items_in_batch": "unshifted", "append_eos": "ids"}},
	"no-eos":           {"trl-0.13", map[string]any{"num_items_in_batch": "unshifted", "append_eos": "none"}},
	"mask-pad-token":   {"trl-0.13", map[string]any{"num_items_in_batch": "unshifted", "mask_pad_token": true}},
	"micro-batch-mean": {"trl-0.9", map[string]any{"num_items_in_batch": "micro_batch", "mask_pad_token": true}},
}

// TestCompat follows TRL 0.11, 0.15, 0.16 and 0.24, each with the transformers of its time, update by update: by its compat,
// and by the switches alone. With the meaning of today every curve is another one.
func TestCompat(t *testing.T) {
	for name, c := range compatRuns {
		var run compatRun
		read(t, compatGolden+name+"/run.json", &run)
		batches := lines[goldenBatch](t, compatGolden+name+"/batches.jsonl")
		updates := lines[compatUpdate](t, compatGolden+name+"/updates.jsonl")
		set := map[string]any{"student": tiny, "max_length": 512, "train_sampling_strategy": "sequential"}
		maps.Copy(set, run.Set)
		with := func(more map[string]any) (Options, *Student, []Example) {
			all := maps.Clone(set)
			maps.Copy(all, more)
			text, err := json.Marshal(all)
			if err != nil {
				t.Fatal(err)
			}
			o := pasted(t, string(text))
			s := load(t, o)
			enc, err := NewEncoder(o, s.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			examples, _, err := enc.EncodeRows(t.Context(), readAll(t, Data{Path: golden + "sft/data/" + run.Rows, Limit: run.N}))
			if err != nil {
				t.Fatal(err)
			}
			return o, s, examples
		}
		fitted := func(s *Student, o Options, examples []Example) (log []Line) {
			_, err := Fit(t.Context(), o, s.Model, examples, Hooks{Step: func(l Line) error { log = append(log, l); return nil }})
			if err != nil {
				t.Fatal(err)
			}
			return log
		}
		for _, more := range []map[string]any{{"compat": c.compat}, c.switches} {
			o, s, examples := with(more)
			row := 0
			for _, b := range batches {
				for i := range b.IDs {
					e := examples[row]
					row++
					if n := len(e.Tokens); !slices.Equal(e.Tokens, b.IDs[i][:n]) || !slices.Equal(e.Labels, b.Labels[i][:n]) || slices.ContainsFunc(b.Labels[i][n:], func(l int32) bool { return l != student.Ignored }) {
						t.Errorf("%s: row %d: ids %v labels %v, in TRL %s %v %v", name, row, e.Tokens, e.Labels, run.Versions["trl"], b.IDs[i], b.Labels[i])
					}
				}
			}
			plan, err := o.Plan(len(examples))
			if err != nil || row != len(examples) || plan.Updates != len(updates) {
				t.Fatalf("%s: %v: %d rows and %+v, in TRL %d rows and %d updates", name, err, len(examples), plan, row, len(updates))
			}
			for w := range plan.Windows() {
				if items := updates[w.Update-1].Items; items != nil && o.shares(w, examples)[0].divisor != *items {
					t.Errorf("%s: step %d: divided by %v, in TRL by %v", name, w.Update, o.shares(w, examples)[0].divisor, *items)
				}
			}
			for i, l := range fitted(s, o, examples) {
				want := updates[i]
				if far(l.Loss, want.Loss, 1e-5) || far(l.GradNorm, want.GradNorm, 1e-5*want.GradNorm) {
					t.Errorf("%s: step %d: loss %v, gradient norm %v; in TRL %s %v, %v", name, l.Step, l.Loss, l.GradNorm, run.Versions["trl"], want.Loss, want.GradNorm)
				}
			}
			for _, p := range s.Model.Params {
				sum := 0.0
				for _, v := range p.Data {
					sum += float64(v) * float64(v)
				}
				if want, ok := run.L2[p.Name]; !ok || far(math.Sqrt(sum), want, 1e-6*want) {
					t.Errorf("%s: %s has the norm %v, in TRL %v", name, p.Name, math.Sqrt(sum), want)
				}
			}
		}
		o, s, examples := with(nil)
		same := 0
		for i, l := range fitted(s, o, examples) {
			if !far(l.Loss, updates[i].Loss, 1e-3) {
				same++
			}
		}
		if same == len(updates) {
			t.Errorf("%s: the curve of today is the same: the run tells nothing", name)
		}
	}
}

// A switch that is set wins over what compat says.
func TestSwitchesWin(t *testing.T) {
	o := pasted(t, "{compat: trl-0.13, mask_pad_token: false, num_items_in_batch: shifted}")
	if *o.MaskPadToken || o.AppendEOS != eosNone || o.NumItemsInBatch != shifted || *o.CompletionOnlyLoss {
		t.Errorf("%v %v %s", *o.MaskPadToken, o.AppendEOS, o.NumItemsInBatch)
	}
	o = pasted(t, "{}")
	if *o.MaskPadToken || o.AppendEOS != eosText || o.CompletionOnlyLoss != nil || o.NumItemsInBatch != shifted || o.Compat != "trl-1" {
		t.Errorf("%+v", o)
	}
	for text, want := range map[string]string{
		"{compat: trl-2}":                                  `compat: is "trl-2": it must be trl-1 or trl-0.17 or`,
		"{num_items_in_batch: none}":                       `num_items_in_batch: is "none": it must be shifted or unshifted or micro_batch`,
		"{num_items_in_batch: micro_batch, packing: true}": "num_items_in_batch: is micro_batch with packing",
	} {
		o := Options{Student: tiny}
		err := yaml.Unmarshal([]byte(text), &o)
		if err == nil {
			o.EnsureDefaults()
			err = o.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
}

// Where a switch takes the ends of turns out, the gate says so and lets it be: that is what was asked for.
func TestSwitchMayTakeEndsOut(t *testing.T) {
	for options, refused := range map[string]bool{"{mask_pad_token: true}": false, "{}": true} {
		o := pasted(t, options)
		o.Student = tiny
		s := load(t, o)
		var out strings.Builder
		ui := UI{Out: &out}
		ui.ensureDefaults()
		x := Example{Row: "line 1", Tokens: []int32{5, 6, 7}, Labels: []int32{5, 6, 7}}
		err := s.gate([]Example{x}, ui)
		if (err != nil) != refused || err != nil && stillhouse.KindOf(err) != stillhouse.Invalid || strings.Contains(out.String(), "the student will not learn to stop") == refused {
			t.Errorf("%s: %v: %s", options, err, out.String())
		}
	}
}
