package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/machine"
	"stillhouse/train"
)

// often are keys that have a training of four updates evaluate twice, and write a checkpoint between.
const often = ", eval_strategy: steps, eval_steps: 2, save_steps: 3"

// planCases are trainings whose plan is held against what they take: each student, full and with an adapter that is
// merged, with evaluations, a checkpoint and questions.
var planCases = []benchCase{
	{name: "plan_full", keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 8" + often},
	{name: "plan_lora", keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 8, peft: {r: 16, lora_alpha: 32, target_modules: all-linear, merge: true}" + often},
	{name: "plan_questions", keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 8, questions: [\"Calculate 1+1-1\", \"What's the difference between thread and process?\"]"},
	{name: "plan_qwen3_full", qwen3: true, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 2, max_length: 512, truncation_mode: keep_end" + often},
	{name: "plan_qwen3_lora", qwen3: true, keys: "per_device_train_batch_size: 1, gradient_accumulation_steps: 2, max_length: 512, truncation_mode: keep_end, peft: {r: 16, lora_alpha: 32, target_modules: all-linear, merge: true}" + often},
}

// plan runs the cases of plans that are wanted, and writes what was said beside what came.
func (b settings) plan(ctx context.Context) error {
	began, of := time.Now(), machine.Describe()
	pairs, failed := bench.Run(ctx, b.cases(), 1, func(c, _ string, m measurement) {
		log.Printf("%-16s %6d MiB planned, %6d held  %7.1f s planned, %7.1f taken", c, m.PlannedMiB, m.PeakMiB, m.PlannedS, m.Seconds)
	})
	if len(pairs) == 0 {
		return failed
	}
	o := bench.Object{"machine": of, "date": began.Format(time.DateOnly), "threads": threads}
	for _, p := range pairs {
		m := p.Ours
		o.Set("planned_mib_"+p.Case, float64(m.PlannedMiB), 0)
		o.Set("peak_mib_"+p.Case, float64(m.PeakMiB), 0)
		o.Set("ratio_mib_"+p.Case, float64(m.PlannedMiB)/float64(m.PeakMiB), 3)
		o.Set("planned_s_"+p.Case, m.PlannedS, 1)
		o.Set("seconds_"+p.Case, m.Seconds, 1)
		o.Set("ratio_s_"+p.Case, m.PlannedS/m.Seconds, 3)
	}
	return errors.Join(failed, bench.Publish(b.out, "plan", began, o, planPage(began, of, b.steps, o, pairs), os.Stdout))
}

// planPage is the page of the plans.
func planPage(began time.Time, of machine.Description, steps int, o bench.Object, pairs bench.Pairs[measurement]) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What a plan says and what a training takes, %s\n\n", began.Format(time.DateOnly))
	fmt.Fprintf(&b, "Made by `make bench-plan`. %s\n", bench.Machine(of, threads))
	fmt.Fprintf(&b, "`stillhouse plan` right before `stillhouse train`, of the same config: SmolLM2-135M on GSM8K's rows, Qwen3-0.6B's shape with drawn weights on\n"+
		"rows of 512 tokens, %d updates; held is the most memory that the process had, taken is from its start to its end.\n\n", steps+1)
	b.WriteString("| case | planned, MiB | held | planned / held | planned, s | taken | planned / taken |\n|---|---|---|---|---|---|---|\n")
	for _, p := range pairs {
		fmt.Fprintf(&b, "| %s | %v | %v | %v | %v | %v | %v |\n", p.Case, o["planned_mib_"+p.Case], o["peak_mib_"+p.Case], o["ratio_mib_"+p.Case],
			o["planned_s_"+p.Case], o["seconds_"+p.Case], o["ratio_s_"+p.Case])
	}
	b.WriteString("\nThe time by parts, in seconds, planned and taken. Answers to questions are planned as if each were as long as may be:\n\n")
	b.WriteString("| case | start | updates | evaluations | checkpoints | saving | questions |\n|---|---|---|---|---|---|---|\n")
	for _, p := range pairs {
		fmt.Fprintf(&b, "| %s |", p.Case)
		for _, of := range []func(train.Times) float64{
			func(t train.Times) float64 { return t.Start }, func(t train.Times) float64 { return t.Updates }, func(t train.Times) float64 { return t.Evaluations },
			func(t train.Times) float64 { return t.Checkpoints }, func(t train.Times) float64 { return t.Saving }, func(t train.Times) float64 { return t.Questions },
		} {
			fmt.Fprintf(&b, " %.1f, %.1f |", of(p.Ours.Planned.Times), of(p.Ours.Times))
		}
		b.WriteString("\n")
	}
	return b.String()
}
