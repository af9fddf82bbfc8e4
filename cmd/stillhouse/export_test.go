package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse/internal/export"
)

func TestExportModel(t *testing.T) {
	inProject(t)
	const tiny = "testdata/parity/train/models/tiny-llama"
	dir := filepath.Join(t.TempDir(), "gguf")
	code, out, said := cli(t, "export", "model", tiny, dir, "--format", "gguf", "--dtype", "q8_0", "--json")
	var r export.Report
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || r.Model != "tiny-llama" || r.Dtype != "q8_0" || len(r.Files) != 2 {
		t.Fatalf("%d: %s%s, %v", code, out, said, err)
	}
	file := filepath.Join(dir, "tiny-llama-Q8_0.gguf")
	code, out, said = cli(t, "ask", file, "How are you?", "--max-tokens", "5")
	if code != 0 || out == "" {
		t.Errorf("ask: %d: %s%s", code, out, said)
	}
	// And back again.
	dir = filepath.Join(t.TempDir(), "back")
	code, _, said = cli(t, "export", "model", file, dir, "--max-shard-size", "100KiB")
	if code != 0 || !strings.Contains(said, "tiny-llama-Q8_0 as safetensors f32: ") || !strings.Contains(said, "logits differ by at most 0 from") {
		t.Errorf("export: %d: %s", code, said)
	}
	if _, err := os.Stat(filepath.Join(dir, "model.safetensors.index.json")); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"export", "model", tiny, dir}, "there is something in it already"},
		{[]string{"export", "model", tiny, dir, "--format", "onnx"}, `format "onnx" is not written`},
		{[]string{"export", "model", tiny, dir, "--max-shard-size", "many"}, `--max-shard-size is "many"`},
		{[]string{"export", "model", "nowhere/model.gguf", dir}, "there is no file nowhere/model.gguf"},
		{[]string{"export", "model", tiny}, "accepts 2 arg(s), received 1"},
		{[]string{"export", tiny, dir}, "is no run"},
	} {
		if code, out, said := cli(t, tc.args...); code != exitInput || !strings.Contains(said, tc.want) || out != "" {
			t.Errorf("%v: %d: %s%s", tc.args, code, out, said)
		}
	}
}

func TestBytesOf(t *testing.T) {
	for text, want := range map[string]int64{"5GB": 5e9, "200MiB": 200 << 20, "1000000": 1e6, "1.5kb": 1500, "2 GiB": 2 << 30, "7B": 7,
		"": -1, "GB": -1, "-1GB": -1, "0": -1, "5 parsecs": -1, "1e300TB": -1, "nan": -1, "5GBGB": -1} {
		n, err := bytesOf(text)
		if want < 0 && err == nil || want >= 0 && (n != want || err != nil) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}
