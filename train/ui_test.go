package train

import (
	"bytes"
	"strings"
	"testing"
)

func TestDownloadIsSaid(t *testing.T) {
	for terminal, want := range map[bool]string{
		false: "downloading config.json\ndownloading model.safetensors, 2.0 MB\n",
		true:  "config.json: 0.0 MB \rmodel.safetensors: 1.0 MB of 2.0 MB \rmodel.safetensors: 2.0 MB of 2.0 MB \n",
	} {
		var out bytes.Buffer
		progress := UI{Out: &out, Terminal: terminal}.download()
		progress("config.json", 10, -1)
		progress("model.safetensors", 1e6, 2e6)
		progress("model.safetensors", 2e6, 2e6)
		if out.String() != want {
			t.Errorf("terminal %v: %q, not %q", terminal, out.String(), want)
		}
	}
}

func TestTablesFit(t *testing.T) {
	var out bytes.Buffer
	UI{Out: &out, Width: 60}.table("T", []string{"a", "b"}, [][]string{{strings.Repeat("word ", 40), "one\ntwo\x1b[31m"}}, 0)
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if n := len([]rune(line)); n > 60 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "│ one ") || strings.Contains(out.String(), "one two") {
		t.Errorf("%s", out.String())
	}
}
