package serve

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// python finds the interpreter that has the openai client: in the virtual environment $STILLHOUSE_PYTHON, else in that
// which make puts into .build/python.
func python(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("STILLHOUSE_PYTHON")
	if dir == "" {
		var err error
		if dir, err = filepath.Abs("../../.build/python"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "bin", "python3")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	t.Fatalf("%s is not there: make test creates it, or: python3 -m venv %s && %s -m pip install -r scripts/requirements-test.txt", path, dir, path)
	return ""
}

// The real openai client, as people use it.
func TestPythonClient(t *testing.T) {
	interpreter := python(t)
	_, url := newServer(t, Options{})
	command := exec.CommandContext(t.Context(), interpreter, "testdata/client.py", url, "tiny")
	command.Env = append(os.Environ(), "OPENAI_API_KEY=none", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
