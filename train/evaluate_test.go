package train

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
)

// evaluated trains on ten rows and returns the lines of the evaluations on seven others.
func evaluated(t *testing.T, options string) (out []EvalLine) {
	t.Helper()
	o := pasted(t, options)
	o.Student = tiny
	s := load(t, o)
	rows, _ := encodedBy(t, s, o, readAll(t, Data{Path: golden + "sft/data/pc-10.jsonl"}))
	eval, _ := encodedBy(t, s, o.evaluation(), readAll(t, o.EvalData))
	_, err := Training{Options: o, Model: s.Model, Rows: rows, Eval: eval, Hooks: Hooks{Eval: func(l EvalLine) error { out = append(out, l); return nil }}}.Fit(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", options, err)
	}
	return out
}

const evalData = "eval_data: {path: " + golden + "sft/data/pc-eval.jsonl}, per_device_train_batch_size: 2, num_train_epochs: 2"

// An evaluation comes when transformers 5.23 would do it.
func TestWhenEvaluated(t *testing.T) {
	for options, want := range map[string]string{
		"eval_strategy: steps, eval_steps: 4":                      "4 8 10",
		"eval_strategy: steps, eval_steps: 5":                      "5 10",
		"eval_strategy: steps, eval_steps: 0.3":                    "3 6 9 10",
		"eval_strategy: steps, eval_steps: 4, eval_delay: 5":       "8 10",
		"eval_strategy: steps, logging_steps: 6":                   "6 10",
		"eval_strategy: epoch":                                     "5 10",
		"eval_strategy: epoch, eval_delay: 1.5":                    "10",
		"eval_strategy: epoch, max_steps: 7":                       "5 7",
		"eval_strategy: epoch, eval_on_start: true":                "0 5 10",
		"eval_on_start: true":                                      "0",
		"eval_strategy: steps, eval_steps: 9, loss_type: dft":      "9 10",
		"eval_strategy: epoch, packing: true, eval_packing: false": "1 2",
	} {
		var got []string
		for _, l := range evaluated(t, "{"+evalData+", "+options+"}") {
			got = append(got, fmt.Sprint(l.Step))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: after %s, not %s", options, text, want)
		}
	}
}

// The numbers of TRL 1.16's evaluate() on the seven rows, with a last micro-batch that is not full.
func TestEvaluationOfTRL(t *testing.T) {
	for options, want := range map[string]EvalLine{
		"per_device_eval_batch_size: 3":                                                                             {Loss: 8.342294692993164, Entropy: 4.1889645258585615},
		"per_device_eval_batch_size: 3, padding_free: true, max_length: null":                                       {Loss: 8.342294692993164, Entropy: 4.188964366912842},
		"per_device_eval_batch_size: 2, packing: true, max_length: 160":                                             {Loss: 8.326905250549316, Entropy: 4.201135953267415},
		"per_device_eval_batch_size: 4, packing: true, packing_strategy: wrapped, max_length: 100":                  {Loss: 7.9930877685546875, Entropy: 4.1036577224731445},
		"per_device_eval_batch_size: 3, dataloader_drop_last: true":                                                 {Loss: 8.303723335266113, Entropy: 4.20194411277771},
		"per_device_eval_batch_size: 2, eval_packing: true, max_length: 160":                                        {Loss: 8.243542671203613, Entropy: 4.203028202056885},
		"per_device_eval_batch_size: 2, eval_packing: true, packing_strategy: bfd_split, max_length: 60":            {Loss: 4.581447601318359, Entropy: 2.378655501774379, MeanTokenAccuracy: 0.0017636684434754507},
		"per_device_eval_batch_size: 2, packing: true, eval_packing: false, max_length: 160":                        {Loss: 8.356270790100098, Entropy: 4.1967926025390625},
		"per_device_eval_batch_size: 3, packing: true, packing_strategy: bfd_split, max_length: 60, loss_type: dft": {Loss: 0.007514446973800659, Entropy: 3.331565093994141, MeanTokenAccuracy: 0.002531645633280277},
	} {
		l := evaluated(t, "{"+evalData+", eval_on_start: true, max_steps: 1, "+options+"}")[0]
		if far(l.Loss, want.Loss, 1e-6*max(1, want.Loss)) || far(l.Entropy, want.Entropy, 1e-5) || far(l.MeanTokenAccuracy, want.MeanTokenAccuracy, 1e-6) {
			t.Errorf("%s: %+v, in TRL %+v", options, l, want)
		}
	}
}

// What an evaluation says does not depend on how the training goes; the loss does on how rows are put together, by the
// weights of its mean.
func TestEvaluation(t *testing.T) {
	of := func(options string) EvalLine {
		return evaluated(t, "{"+evalData+", eval_on_start: true, max_steps: 1, "+options+"}")[0]
	}
	one := of("per_device_eval_batch_size: 4")
	if again := of("per_device_eval_batch_size: 4, gradient_accumulation_steps: 3"); far(again.Loss, one.Loss, 1e-6) || far(again.Entropy, one.Entropy, 1e-6) {
		t.Errorf("%+v and %+v", again, one)
	}
	if l := of("per_device_eval_batch_size: 7"); l.Loss == one.Loss || math.Abs(l.Loss-one.Loss) > 0.2 {
		t.Errorf("one micro-batch: %+v, two: %+v", l, one)
	}
	// A pack is one row, and padding-free is no other evaluation.
	all := of("per_device_eval_batch_size: 7")
	if l := of("packing: true, max_length: 2000"); far(l.Loss, all.Loss, 1e-6) {
		t.Errorf("packed into one: %+v, in one micro-batch: %+v", l, all)
	}
	if l := of("per_device_eval_batch_size: 4, padding_free: true"); far(l.Loss, one.Loss, 1e-9) {
		t.Errorf("padding-free: %+v", l)
	}
	if l := of("loss_type: dft"); l.Loss > one.Loss/10 || far(l.Entropy, of("").Entropy, 1e-9) {
		t.Errorf("dft: %+v", l)
	}
}

// The rows that are held out are whole prompts, a share of them, the same each time.
func TestHoldOut(t *testing.T) {
	var rows []Example
	for p := range 10 {
		for s := range 1 + p%3 {
			tokens := []int32{1, int32(10 + p), 2, int32(30 + s)}
			rows = append(rows, Example{Row: fmt.Sprintf("%d.%d", p, s), Tokens: tokens, Labels: []int32{-100, -100, -100, tokens[3]}})
		}
	}
	train, eval, err := HoldOut(rows, 0.3, 7)
	if err != nil || len(train)+len(eval) != len(rows) {
		t.Fatalf("%d and %d of %d rows: %v", len(train), len(eval), len(rows), err)
	}
	of := func(rows []Example) map[int32]bool {
		prompts := map[int32]bool{}
		for _, r := range rows {
			prompts[r.Tokens[1]] = true
		}
		return prompts
	}
	in, out := of(train), of(eval)
	if len(out) != 3 || len(in) != 7 {
		t.Errorf("%v are held out of %v", out, in)
	}
	for p := range out {
		if in[p] {
			t.Errorf("prompt %d is on both sides", p)
		}
	}
	_, again, _ := HoldOut(rows, 0.3, 7)
	_, other, _ := HoldOut(rows, 0.3, 9)
	if fmt.Sprint(again) != fmt.Sprint(eval) || fmt.Sprint(other) == fmt.Sprint(eval) {
		t.Error("the seed does not decide")
	}
	if _, few, err := HoldOut(rows, 0.001, 7); err != nil || len(of(few)) != 1 {
		t.Errorf("a tiny share: %v, %v", few, err)
	}
	if _, _, err := HoldOut(rows[:1], 0.5, 7); err == nil || !strings.Contains(err.Error(), "eval_split") {
		t.Errorf("one prompt: %v", err)
	}
}
