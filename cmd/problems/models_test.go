package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse/internal/problems"
	"stillhouse/internal/student"
)

const models = "../../testdata/models"

// The stored models are the files that were measured, no more and no less of them.
func TestStoredModelsHaveTheirHashes(t *testing.T) {
	f, err := os.Open(filepath.Join(models, "SHA256SUMS"))
	require.NoError(t, err)
	defer f.Close()
	want := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		require.True(t, ok, lines.Text())
		want[name] = sum
	}
	got := map[string]string{}
	for _, model := range []string{"demo-teacher", "demo-base"} {
		files, err := os.ReadDir(filepath.Join(models, model))
		require.NoError(t, err)
		for _, file := range files {
			data, err := os.ReadFile(filepath.Join(models, model, file.Name()))
			require.NoError(t, err)
			sum := sha256.Sum256(data)
			got[model+"/"+file.Name()] = hex.EncodeToString(sum[:])
		}
	}
	require.Equal(t, want, got, "after a change that is meant: make models")
}

// They are small models of the shape that internal/problems says, in bfloat16, with its tokenizer.
func TestStoredModelsAreWhatTheRecipeMakes(t *testing.T) {
	files, err := problems.ModelFiles()
	require.NoError(t, err)
	scratch := t.TempDir()
	require.NoError(t, problems.WriteModel(scratch))
	shape, err := student.ReadConfig(scratch)
	require.NoError(t, err)
	for _, model := range []string{"demo-teacher", "demo-base"} {
		dir := filepath.Join(models, model)
		for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, string(files[name]), string(data), "%s/%s", model, name)
		}
		m, err := student.Load(dir)
		require.NoError(t, err)
		require.Equal(t, shape, m.Config)
		require.Equal(t, "bfloat16", m.Config.Dtype)
		parameters := 0
		for _, p := range m.Params {
			parameters += len(p.Data)
		}
		require.LessOrEqual(t, parameters, 3_000_000)
		require.FileExists(t, filepath.Join(models, model+".yaml"))
	}
}

// They answer: weights, tokenizer and chat template belong together. docs/demo.md has the whole measurement.
func TestStoredModelsAnswer(t *testing.T) {
	for model, least := range map[string]float64{"demo-teacher": 85, "demo-base": 50} {
		var out bytes.Buffer
		require.NoError(t, run([]string{"measure", "-n", "60", "-samples", "2", filepath.Join(models, model)}, &out))
		var greedy, sampled, low, high float64
		first, second, _ := strings.Cut(out.String(), "\n")
		_, err := fmt.Sscanf(first, "greedy %f %% (95 %%: %f to %f)", &greedy, &low, &high)
		require.NoError(t, err, first)
		_, err = fmt.Sscanf(second, "sampled %f %% (95 %%: %f to %f)", &sampled, &low, &high)
		require.NoError(t, err, second)
		require.GreaterOrEqual(t, greedy, least, model)
		require.Greater(t, greedy, sampled, "%s: a sample is a guess, and half of the base's rows slipped", model)
		require.Greater(t, sampled, 20.0, model)
	}
}
