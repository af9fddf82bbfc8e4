package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// peerNames are the peers that there are scripts for.
var peerNames = []string{"plain", "distilabel", "curator", "datadesigner", "datatrove"}

// A peer is an engine in Python: bench/peer_distill_NAME.py, run by an interpreter of its own.
type peer struct{ title, python, script string }

func newPeer(dir, name string) peer {
	return peer{title: name, python: filepath.Join(dir, name, "bin", "python"), script: filepath.Join("bench", "peer_distill_"+name+".py")}
}

func (p peer) name() string { return p.title }

func (p peer) command(j job) (command, env []string, err error) {
	return []string{p.python, p.script, "--prompts", j.prompts, "--url", j.url, "--at-once", strconv.Itoa(j.concurrency), "--work", j.work},
		[]string{"PYTHONUNBUFFERED=1", "HF_HUB_OFFLINE=1", "HOME=" + j.work, "NO_PROXY=127.0.0.1", "OPENAI_API_KEY=none"}, nil
}

// answers reads rows.jsonl, which the script has written; a killed or crashed one may have written none.
func (p peer) answers(j job) (answers, error) {
	out := answers{texts: map[string]string{}}
	f, err := os.Open(filepath.Join(j.work, "rows.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var row struct {
			Prompt string
			Answer *string
		}
		if json.Unmarshal(s.Bytes(), &row) == nil && row.Answer != nil && *row.Answer != "" {
			out.texts[row.Prompt] = *row.Answer
		}
	}
	return out, s.Err()
}
