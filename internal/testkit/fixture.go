package testkit

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"stillhouse"
)

// Candidate is one answer to a prompt, with the reference answer ref, or none where that is empty.
func Candidate(id string, sample int, ref, text string, tokens int) stillhouse.Candidate {
	c := stillhouse.Candidate{Sample: int32(sample), FinishReason: "stop", CompletionTokens: int32(tokens), Model: "m", RequestKey: id,
		Completion: []stillhouse.Message{{Role: "assistant", Content: text}}}
	c.ID, c.Prompt.Prompt = id, []stillhouse.Message{{Role: "user", Content: "How many, " + id + "?"}}
	if ref != "" {
		c.Reference = &ref
	}
	return c
}

// Lines decodes a file of JSON lines, of which there must be some.
func Lines[T any](t testing.TB, path string) (out []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s: line %d: %v", path, len(out)+1, err)
		}
		out = append(out, v)
	}
	if err := s.Err(); err != nil || len(out) == 0 {
		t.Fatalf("%s: %d lines, %v", path, len(out), err)
	}
	return out
}

// Needs is for tests that run a program.
func Needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is needed here, `make test` gets what can be got: %v", program, err)
	}
}
