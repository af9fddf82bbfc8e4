package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"stillhouse/internal/mockteacher"
)

// memory plans n prompts and runs a tenth of them, and prints how much memory each took.
func (b *settings) memory(ctx context.Context, n int) error {
	m, err := startMock(ctx, mockteacher.Options{Words: 60})
	if err != nil {
		return err
	}
	defer m.stop()
	out := map[string]any{"prompts_planned": n, "prompts_run": n / 10}
	o := ours{b.program}
	for _, step := range []struct {
		verb    string
		prompts int
	}{{"plan", n}, {"run", n / 10}} {
		j := job{work: filepath.Join(b.work, step.verb), url: m.url, concurrency: 64}
		if err := os.MkdirAll(j.work, 0o755); err != nil {
			return err
		}
		if j.prompts, _, err = writePrompts(b.work, step.prompts); err != nil {
			return err
		}
		command, env, err := o.command(j)
		if err != nil {
			return err
		}
		if step.verb == "plan" {
			command = []string{o.program, "plan", command[2]}
		}
		p := start(ctx, command, env, filepath.Join(j.work, "log"))
		p.wait(20*time.Minute, nil)
		text, err := os.ReadFile(filepath.Join(j.work, "log"))
		if err != nil {
			return err
		}
		log.Printf("%s of %d prompts: %.1f s, %d MiB %s\n%s", step.verb, step.prompts, p.wall.Seconds(), p.peak>>20, p.end, text)
		if p.end != "" {
			return fmt.Errorf("%s of %d prompts: %s", step.verb, step.prompts, p.end)
		}
		out["peak_mib_"+step.verb], out["wall_s_"+step.verb] = p.peak>>20, p.wall.Seconds()
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}
