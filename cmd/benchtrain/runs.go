package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
	"stillhouse/train"
)

// A measurement is what one run says of its measured updates.
type measurement struct {
	Tokens     int64   `json:"tokens"`
	Labels     int64   `json:"labels"`
	Wall       float64 `json:"wall_s"`
	CPU        float64 `json:"cpu_s"` // of the process, in the measured updates
	TokensPerS float64 `json:"tokens_per_s"`
	PeakMiB    int64   `json:"peak_mib"`
	GEMM       float64 `json:"-"` // GFLOP/s of bare products, before and after
	BLAS       float64 `json:"-"` // and of OpenBLAS's, which is the same where there is no matrix unit

	PlannedMiB int64   `json:"-"` // what `stillhouse plan` said
	PlannedS   float64 `json:"-"`
	Seconds    float64 `json:"-"` // of the whole command

	Planned planned     `json:"-"`
	Times   train.Times `json:"-"` // by parts, as they were
}

// planned is what `stillhouse plan` says of a training.
type planned = train.Forecast

// peer runs one configuration of bench/peer_train.py.
func (b settings) peer(ctx context.Context, config string) (m measurement, err error) {
	end, err := bench.Command{Env: environment, Args: []string{b.python, "bench/peer_train.py", "--data", b.rows, "--model", b.smollm2, "--config", config,
		"--steps", strconv.Itoa(b.steps), "--threads", strconv.Itoa(threads)}}.Run(ctx)
	if err != nil {
		return m, err
	}
	lines := strings.Split(strings.TrimSpace(end.Out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
		return m, fmt.Errorf("its last line is not JSON: %w", err)
	}
	return m, nil
}

// ours plans and runs a training with the program as users have it, and reads its log.
func (b settings) ours(ctx context.Context, c benchCase) (m measurement, err error) {
	config := filepath.Join(b.work, c.name+".yaml")
	if err := os.WriteFile(config, []byte(b.config(c)), 0o644); err != nil {
		return m, err
	}
	before := measureProducts()
	end, err := bench.Command{Env: environment, Args: []string{b.program, "plan", config, "--json"}}.Run(ctx)
	if err != nil {
		return m, err
	}
	var plan planned
	if err := json.Unmarshal([]byte(end.Out), &plan); err != nil {
		return m, fmt.Errorf("plan: its output is not JSON: %w", err)
	}
	dir := filepath.Join(b.work, c.name)
	if err := os.RemoveAll(dir); err != nil {
		return m, err
	}
	w := watch{log: filepath.Join(dir, "student.partial", "log.jsonl")}
	end, err = bench.Command{Env: environment, Every: w.look, Args: []string{b.program, "train", config, "--runs", b.work, "--json"}}.Run(ctx)
	if err != nil {
		return m, err
	}
	var result struct {
		Tokens        int64       `json:"tokens"`
		TrainedTokens int64       `json:"trained_tokens"`
		Times         train.Times `json:"times"`
	}
	if err := json.Unmarshal([]byte(end.Out), &result); err != nil {
		return m, fmt.Errorf("train: its output is not JSON: %w", err)
	}
	if m, err = readLog(filepath.Join(dir, "student", "log.jsonl")); err != nil {
		return m, err
	}
	m.CPU, m.PeakMiB, m.PlannedMiB, m.PlannedS, m.Seconds = w.last-w.first, end.PeakMiB, plan.PeakMiB, plan.Seconds, end.Wall
	m.Planned, m.Times = plan, result.Times
	m.Labels = m.Tokens * result.TrainedTokens / max(1, result.Tokens)
	after := measureProducts()
	m.GEMM, m.BLAS = (before.own+after.own)/2, (before.blas+after.blas)/2
	return m, os.RemoveAll(dir)
}

// rates are those of bare fp32 products in GFLOP/s: as trainings compute them, and by OpenBLAS.
type rates struct{ own, blas float64 }

func measureProducts() (r rates) {
	r.own = machine.MeasureGEMM(time.Second / 2)
	defer kernel.UseTiles(kernel.UseTiles(false))
	r.blas = machine.MeasureGEMM(time.Second / 2)
	return r
}

// readLog takes the measured updates from a log: all but the first.
func readLog(path string) (m measurement, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	var seen int64
	for line := range strings.Lines(string(text)) {
		var l struct {
			Step       int     `json:"step"`
			NumTokens  int64   `json:"num_tokens"`
			TokensPerS float64 `json:"tokens_per_s"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return m, fmt.Errorf("%s: %w", path, err)
		}
		if l.Step > 1 {
			m.Tokens += l.NumTokens - seen
			m.Wall += float64(l.NumTokens-seen) / l.TokensPerS
		}
		seen = l.NumTokens
	}
	m.TokensPerS = float64(m.Tokens) / m.Wall
	return m, nil
}
