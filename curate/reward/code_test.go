package reward

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func newCode(t testing.TB, o Code) *codeReward {
	t.Helper()
	testkit.Needs(t, "python3")
	if !o.Unsandboxed {
		testkit.Needs(t, "bwrap")
	}
	o.EnsureDefaults()
	require.NoError(t, o.Validate())
	r, err := o.New()
	require.NoError(t, err)
	if err := r.(*codeReward).Open(); err != nil && !o.Unsandboxed && strings.Contains(err.Error(), "namespace") {
		// It runs wherever the kernel lets this user make namespaces, as on the machines that run .ci/run. Where it does not, the
		// reward refuses to begin, and nothing of a program can be tried.
		t.Skipf("nothing could be tried here: %v", err)
	} else {
		require.NoError(t, err)
	}
	return r.(*codeReward)
}

func fenced(program string) string { return "Here it is:\n```python\n" + program + "\n```\n" }

// Programs that harm or cheat are wrong, and leave nothing behind.
func TestCodeHostile(t *testing.T) {
	t.Setenv("STILLHOUSE_TEST_KEY", "sk-secret")
	t.Setenv("TMPDIR", t.TempDir())
	r := newCode(t, Code{CPU: 2, Memory: 256})
	const tests = "assert add(1, 2) == 3\nassert add(-1, 1) == 0"
	add := "def add(a, b):\n    return a + b\n"
	for _, tc := range []struct{ name, program, verdict, evidence string }{
		{"right", add, stillhouse.Right, "the tests are passed"},
		{"wrong", "def add(a, b):\n    return a - b", stillhouse.Wrong, "AssertionError"},
		{"no syntax", "def add(a, b", stillhouse.Wrong, "SyntaxError"},
		{"exit before the tests", add + "import os\nos._exit(0)", stillhouse.Wrong, "exit status 0 before the tests were passed"},
		{"sys.exit before the tests", "import sys\nsys.exit(0)", stillhouse.Wrong, "exit status 0 before the tests were passed"},
		{"printed marks", "print('passed')\nimport os\nos.write(1, b'passed')\nos._exit(0)", stillhouse.Wrong, "exit status 0"},
		{"replaced exits", "import os, sys, atexit\natexit.register(lambda: os._exit(0))\nos.write = print\nsys.excepthook = lambda *a: os._exit(0)", stillhouse.Wrong, "before the tests"},
		{"endless loop", "while True: pass", stillhouse.Wrong, "exit status"},
		{"fork bomb", "import os\nwhile True: os.fork()", stillhouse.Wrong, "BlockingIOError"},
		{"child", "import subprocess\nsubprocess.Popen(['sleep', '1000'])", stillhouse.Wrong, "BlockingIOError"},
		{"threads are let", "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()\n" + add, stillhouse.Right, ""},
		{"thread bomb", "import threading, time\nfor _ in range(10**6): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()", stillhouse.Wrong, "can't start new thread"},
		{"memory hog", "x = bytearray(10**10)", stillhouse.Wrong, "MemoryError"},
		{"much output", "import sys\nfor _ in range(1000): sys.stderr.write('x' * 10000)\n" + add, stillhouse.Right, ""},
		{"passwords", "open('/etc/passwd').read()", stillhouse.Wrong, "FileNotFoundError"},
		{"this repository", "import os\nassert os.path.exists(" + pyString(cwd(t)) + "), 'is hidden'", stillhouse.Wrong, "AssertionError: is hidden"},
		{"home", "import os\nprint(os.listdir('/root'), os.listdir('/home'))", stillhouse.Wrong, "FileNotFoundError"},
		{"environment", "import os\nassert 'STILLHOUSE_TEST_KEY' not in os.environ\n" + add, stillhouse.Right, ""},
		{"parent's environment", "import glob\nfor p in glob.glob('/proc/*/environ'):\n    assert b'sk-secret' not in open(p, 'rb').read()\n" + add, stillhouse.Right, ""},
		{"network", "import socket\nsocket.create_connection(('127.0.0.1', 22), timeout=5)", stillhouse.Wrong, "Error"},
		{"interfaces", "import socket\nassert [n for _, n in socket.if_nameindex()] == ['lo']\n" + add, stillhouse.Right, ""},
		{"writing the runtime", "open('/usr/x', 'w')", stillhouse.Wrong, "Read-only file system"},
		{"writing the root", "open('/x', 'w')", stillhouse.Wrong, "Read-only file system"},
		{"large files", "f = open('/tmp/x', 'wb')\nfor _ in range(10**4): f.write(bytes(10**6))", stillhouse.Wrong, "OSError"},
		{"namespaces", "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0, 'refused'", stillhouse.Wrong, "AssertionError: refused"},
		{"deep recursion", "f = lambda n: f(n)\nf(1)", stillhouse.Wrong, "RecursionError"},
		{"a NUL", "x = '\x00'", stillhouse.Wrong, "null bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := r.Score(context.Background(), candidate("p", 0, tests, fenced(tc.program), 1))
			assert.Equal(t, tc.verdict, got.Verdict, got.Evidence)
			assert.Contains(t, got.Evidence, tc.evidence)
		})
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "stillhouse-sandbox-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func pyString(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }

func cwd(t *testing.T) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	return dir
}

func TestCodeCases(t *testing.T) {
	r := newCode(t, Code{TestsKey: "cases"})
	for _, tc := range []struct{ program, tests, verdict, evidence string }{
		{"print(int(input()) * 2)", `[{"input": "2\n", "output": "4\n"}, {"input": "-3", "output": "-6"}]`, stillhouse.Right, "2 of 2 cases"},
		{"print(int(input()) * 2)", `{"inputs": ["2", "3"], "outputs": ["4", "7"]}`, stillhouse.Wrong, `case 2 of 2: it printed "6\n", not "7"`},
		{"print('4  ')\nprint()", `[{"input": "", "output": "4"}]`, stillhouse.Right, ""},
		{"print(' 4')", `[{"input": "", "output": "4"}]`, stillhouse.Wrong, ""},
		{"print(4)\nraise SystemExit(2)", `[{"input": "", "output": "4"}]`, stillhouse.Wrong, "exit status 2"},
		{"while True: print('x' * 10**6)", `[{"input": "", "output": "4"}]`, stillhouse.Wrong, "it printed more than 1048576 bytes"},
		{"print(4)", `{"inputs": ["1"], "outputs": []}`, stillhouse.Unparsable, "1 inputs and 0 outputs"},
		{"print(4)", `[]`, stillhouse.Unparsable, "no tests"},
		{"x = 4", `["assert x == 4", "assert x > 3"]`, stillhouse.Right, "the tests are passed"},
		{"x = 4", `"assert x ="`, stillhouse.Unparsable, "the tests are no Python"},
	} {
		c := candidate("p", 0, "", fenced(tc.program), 1)
		meta := `{"cases": ` + tc.tests + `}`
		c.Meta = &meta
		got := r.Score(context.Background(), c)
		assert.Equal(t, tc.verdict, got.Verdict, "%s: %s", tc.program, got.Evidence)
		assert.Contains(t, got.Evidence, tc.evidence, tc.program)
	}
}

// A run that is not over when its time is ends with all that it started.
func TestCodeTimesOut(t *testing.T) {
	testkit.Needs(t, "python3")
	started := filepath.Join(t.TempDir(), "started")
	require.NoError(t, syscall.Mkfifo(started, 0o600))
	r := newCode(t, Code{Unsandboxed: true, Processes: 64, Memory: -1})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answered := make(chan stillhouse.Score)
	program := "import os, time\nif os.fork() == 0:\n    with open(" + pyString(started) + ", 'w') as f: f.write(str(os.getpid()))\nwhile True: time.sleep(1000)"
	go func() { answered <- r.Score(ctx, candidate("p", 0, "assert True", fenced(program), 1)) }()
	child, err := os.ReadFile(started)
	require.NoError(t, err)
	cancel()
	assert.Equal(t, stillhouse.Timeout, (<-answered).Verdict)
	pid, err := strconv.Atoi(string(child))
	require.NoError(t, err)
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	require.NoError(t, err)
	defer unix.Close(fd)
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} // it is killed, but may not be gone yet
	n, err := unix.Poll(ended, 60_000)
	require.NoError(t, err)
	assert.Equal(t, 1, n, "the child lives on")
}

func TestCodeBlocks(t *testing.T) {
	for _, tc := range []struct {
		text, language string
		longest        bool
		want           string
		ok             bool
	}{
		{"none", "python", false, "", false},
		{"```py\na\n```\n```python3\nb\n```\n```\nc\n```", "python", false, "b\n", true},
		{"```python\nlonger\n```\n```python\nb\n```", "python", true, "longer\n", true},
		{"```\na\n```\n```bash\nls\n```", "python", false, "a\n", true},
		{"```bash\nls\n```", "python", false, "", false},
		{"````python\n```\nx\n```\n````", "python", false, "```\nx\n```\n", true},
		{"~~~python\nx", "python", false, "x", true},
		{"  ```python\n  x\n    y\n  ```", "python", false, "x\n  y\n", true},
		{"```python\n\n```", "python", false, "", false},
		{"```js title=x\nx\n```", "javascript", false, "x\n", true},
	} {
		got, ok := chooseBlock(codeBlocks(tc.text), tc.language, tc.longest)
		assert.Equal(t, tc.want, got, "%q", tc.text)
		assert.Equal(t, tc.ok, ok, "%q", tc.text)
	}
	huge := strings.Repeat("```\n`` ~~~\n", 1_000_000)
	assert.NotEmpty(t, codeBlocks(huge))
}

func FuzzCodeBlocks(f *testing.F) {
	f.Add("```python\nx\n```", `[{"input": "1", "output": "2"}]`)
	f.Add("~~~\n```\n", `["assert x"]`)
	f.Fuzz(func(t *testing.T, text, tests string) {
		n := 0
		for _, b := range codeBlocks(text) {
			n += len(b.text)
		}
		if n > len(text) {
			t.Errorf("%d bytes of code in %d of text", n, len(text))
		}
		if got, err := readTests(tests); err == nil && (got.python == "") == (len(got.cases) == 0) {
			t.Errorf("%q: %+v", tests, got)
		}
	})
}
