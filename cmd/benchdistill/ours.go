package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/rundir"
)

// ours is stillhouse as users have it: a whole run without a student.
type ours struct{ program string }

func (ours) name() string { return "stillhouse" }

func (o ours) command(j job) (command, env []string, err error) {
	config := fmt.Sprintf(`name: bench
prompts: {path: %q}
distill:
  endpoint: %s
  model: mock-teacher
  identity: mock
  temperature: 0.8
  max_tokens: 1024
  concurrency: %d
  store: %q
curate:
  rewards: [{length: {max_tokens: 1024}}]
filter: [truncated]
`, j.prompts, j.url, j.concurrency, filepath.Join(j.work, "responses.db"))
	path := filepath.Join(j.work, "bench.yaml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return nil, nil, err
	}
	return []string{o.program, "run", path, "--runs", j.work}, nil, nil
}

// answers reads the rows kept, and the prompts of those dropped or failed with a reason.
func (ours) answers(j job) (answers, error) {
	out := answers{texts: map[string]string{}, told: map[string]bool{}}
	dir := filepath.Join(j.work, "bench")
	err := eachSample(filepath.Join(dir, "kept"), func(s stillhouse.Sample) { out.texts[s.Prompt[len(s.Prompt)-1].Content] = s.Text() })
	if err == nil {
		err = eachSample(filepath.Join(dir, "dropped", "filter"), func(s stillhouse.Sample) { out.told[s.Prompt[len(s.Prompt)-1].Content] = true })
	}
	return out, err
}

func eachSample(dir string, do func(stillhouse.Sample)) error {
	shards, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil {
		return err
	}
	for _, path := range shards {
		batch, err := rundir.ReadParquet(context.Background(), path, memory.DefaultAllocator)
		if err != nil {
			return err
		}
		rows, err := stillhouse.Samples(batch)
		batch.Release()
		if err != nil {
			return err
		}
		for _, s := range rows {
			do(s)
		}
	}
	return nil
}

// writePrompts writes n prompts: the questions of testdata/gsm8k/sample.jsonl and, once these are used up, the same with
// a number behind them.
func writePrompts(dir string, n int) (path string, prompts []string, err error) {
	f, err := os.Open("testdata/gsm8k/sample.jsonl")
	if err != nil {
		return "", nil, fmt.Errorf("%w: start this program in the repository's folder", err)
	}
	defer f.Close()
	var questions []string
	for s := bufio.NewScanner(f); s.Scan(); {
		var row struct{ Question string }
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			return "", nil, err
		}
		questions = append(questions, row.Question)
	}
	path = filepath.Join(dir, fmt.Sprintf("prompts-%d.jsonl", n))
	to, err := os.Create(path)
	if err != nil {
		return "", nil, err
	}
	defer to.Close()
	w := bufio.NewWriter(to)
	enc := json.NewEncoder(w)
	for i := range n {
		text := questions[i%len(questions)]
		if i >= len(questions) {
			text += fmt.Sprintf(" (%d)", i/len(questions))
		}
		prompts = append(prompts, text)
		if err := enc.Encode(map[string]string{"prompt": text}); err != nil {
			return "", nil, err
		}
	}
	return path, prompts, w.Flush()
}
