package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"stillhouse/internal/bench"
)

var address = regexp.MustCompile(`http://[0-9.]+:\d+/v1`)

// measureServer starts a server, sends it the prompts, so many at once, and stops it. tok_s are the tokens that it says it
// made over the time of all requests.
func measureServer(ctx context.Context, m measurement, prompts []string, fresh, together int, command ...string) (measurement, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, in, err := os.Pipe()
	if err != nil {
		return m, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		in.Close()
		return m, fmt.Errorf("%s: %w", command[0], err)
	}
	in.Close()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	lines, said, url := bufio.NewScanner(out), "", ""
	for url == "" && lines.Scan() {
		said += lines.Text() + "\n"
		url = address.FindString(lines.Text())
	}
	if url == "" {
		return m, fmt.Errorf("%s ended without serving: %s", strings.Join(command, " "), said)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	name, err := modelName(ctx, url)
	if err != nil {
		return m, err
	}
	if _, err := ask(ctx, url, name, "[w] "+prompts[0], 4); err != nil {
		return m, err
	}
	cpu := bench.ProcessorTime(cmd.Process.Pid)
	begun := time.Now()
	tokens := make([]int, len(prompts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(together)
	for i, p := range prompts {
		g.Go(func() (err error) {
			tokens[i], err = ask(ctx, url, name, p, fresh)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return m, err
	}
	wall := time.Since(begun).Seconds()
	for _, n := range tokens {
		m.Tokens += n
	}
	m.TokS, m.CPUS = float64(m.Tokens)/wall, bench.ProcessorTime(cmd.Process.Pid)-cpu
	return m, nil
}

func modelName(ctx context.Context, url string) (string, error) {
	var list struct {
		Data []struct{ ID string }
	}
	if err := call(ctx, http.MethodGet, url+"/models", nil, &list); err != nil {
		return "", err
	}
	if len(list.Data) == 0 {
		return "", fmt.Errorf("%s/models names no model", url)
	}
	return list.Data[0].ID, nil
}

// ask asks one question and returns the number of tokens of the answer.
func ask(ctx context.Context, url, model, question string, fresh int) (int, error) {
	body, err := json.Marshal(map[string]any{"model": model, "temperature": 0, "max_tokens": fresh,
		"messages": []map[string]string{{"role": "user", "content": question}}})
	if err != nil {
		return 0, err
	}
	var answer struct {
		Usage struct {
			CompletionTokens int `json:"completion_tokens"`
		}
	}
	err = call(ctx, http.MethodPost, url+"/chat/completions", body, &answer)
	return answer.Usage.CompletionTokens, err
}

// call sends a request; while the server says that it is still loading, it is sent again.
func call(ctx context.Context, method, url string, body []byte, into any) error {
	for {
		r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		switch {
		case err != nil:
			return err
		case answer.StatusCode == http.StatusServiceUnavailable:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(200 * time.Millisecond):
			}
		case answer.StatusCode != http.StatusOK:
			return fmt.Errorf("%s: %s: %s", url, answer.Status, text)
		default:
			return json.Unmarshal(text, into)
		}
	}
}
