package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/student"
)

const demo = "../../testdata/demo"

// The commands that made testdata/demo, as its README has them.
var made = map[string]string{
	"train.jsonl": "rows -n 2000 -seed 1 -unique",
	"test.jsonl":  "rows -n 500 -seed 3 -unique -split test",
}

func TestDemoDataIsWhatTheseCommandsPrint(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(demo, "README.md"))
	require.NoError(t, err)
	for name, command := range made {
		want, err := os.ReadFile(filepath.Join(demo, name))
		require.NoError(t, err)
		var got bytes.Buffer
		require.NoError(t, run(strings.Fields(command), &got))
		require.True(t, bytes.Equal(want, got.Bytes()), "%s is not what `problems %s` prints", name, command)
		require.Contains(t, string(readme), "./cmd/problems "+command+" > testdata/demo/"+name)
	}
}

func TestNoTestProblemIsATrainProblem(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"train.jsonl", "test.jsonl"} {
		f, err := os.Open(filepath.Join(demo, name))
		require.NoError(t, err)
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var row struct{ Question, Answer string }
			require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
			require.False(t, seen[row.Question], row.Question)
			require.False(t, seen[row.Answer], row.Answer) // the working: the calculation and its results
			seen[row.Question], seen[row.Answer] = true, true
			require.Regexp(t, `#### \d+$`, row.Answer)
		}
	}
	require.Len(t, seen, 2*2500)
}

func TestChatRows(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run([]string{"rows", "-n", "3", "-chat", "-slip", "1"}, &out))
	for _, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var row struct{ Prompt, Completion []stillhouse.Message }
		require.NoError(t, json.Unmarshal([]byte(l), &row))
		require.Equal(t, "user", row.Prompt[0].Role)
		require.Equal(t, "assistant", row.Completion[0].Role)
		require.Contains(t, row.Completion[0].Content, "####")
	}
}

// A stored model has the weights of the one that it was made from, rounded, at half the size.
func TestStore(t *testing.T) {
	scratch, from, dir := t.TempDir(), filepath.Join(t.TempDir(), "student"), filepath.Join(t.TempDir(), "kept")
	require.NoError(t, run([]string{"model", scratch}, nil))
	c, err := student.ReadConfig(scratch)
	require.NoError(t, err)
	m := student.New(c, 1, 0.02)
	require.NoError(t, student.Save(m, from, student.SaveOptions{From: scratch}))
	require.NoError(t, run([]string{"store", from, dir}, nil))

	kept, err := student.Load(dir)
	require.NoError(t, err)
	require.Equal(t, "bfloat16", kept.Config.Dtype)
	for i, p := range m.Params {
		require.Equal(t, p.Name, kept.Params[i].Name)
		for j, v := range p.Data {
			require.InDelta(t, v, kept.Params[i].Data[j], 0.004*max(1e-6, float64(abs(v))), p.Name) // 8 bits of mantissa
		}
	}
	info, err := os.Stat(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2*3_000_000))
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		require.FileExists(t, filepath.Join(dir, name))
	}
}

func abs(v float32) float32 { return max(v, -v) }

func TestWrongCommandsSayWhatWouldBeRight(t *testing.T) {
	for _, args := range [][]string{nil, {"row"}, {"model"}, {"store", "a"}, {"rows", "-split", "dev"}, {"rows", "10"}} {
		err := run(args, &bytes.Buffer{})
		require.Error(t, err, "%q", args)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), "%q", args)
	}
}
