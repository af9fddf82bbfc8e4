package machine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tree is a machine made of files.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := root
	root = dir
	t.Cleanup(func() { root = before })
}

func TestAvailable(t *testing.T) {
	const memory = "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n"
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing known":  {nil, 0},
		"no group":       {map[string]string{"proc/meminfo": memory}, 8000 << 10},
		"no limit":       {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "1\n"}, 8000 << 10},
		"limit":          {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "4096000\n", "sys/fs/cgroup/a/memory.current": "1000000\n", "sys/fs/cgroup/a/memory.stat": "anon 5\ninactive_file 600000\n"}, 3696000},
		"limit above":    {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "4096000\n", "sys/fs/cgroup/a/memory.current": "1000000\n"}, 3096000},
		"its own root":   {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "2000000\n", "sys/fs/cgroup/memory.current": "500000\n"}, 1500000},
		"first version":  {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "4:memory:/x\n2:cpu:/\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "3000000\n", "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "1000000\n"}, 2000000},
		"used up":        {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "100\n", "sys/fs/cgroup/memory.current": "500\n"}, 0},
		"above the rest": {map[string]string{"proc/meminfo": memory, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999999\n", "sys/fs/cgroup/memory.current": "500\n"}, 8000 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			tree(t, tc.files)
			if got := Available(); got != tc.want {
				t.Errorf("%d bytes, not %d", got, tc.want)
			}
		})
	}
}

func TestThisMachine(t *testing.T) {
	if r, p := Resident(), Peak(); r <= 0 || p < r/2 {
		t.Errorf("%d bytes are held, %d at most", r, p)
	}
	if rate := MeasureGEMM(time.Millisecond); !(rate > 0.01 && rate < 1e5) {
		t.Errorf("%v GFLOP/s", rate)
	}
	if a, b := GEMMRate(), GEMMRate(); a != b || a <= 0 {
		t.Errorf("%v and then %v GFLOP/s", a, b)
	}
	if d := Describe(); d.Cores < 1 || d.Threads < 1 || d.Instructions == "" || d.GEMM <= 0 {
		t.Errorf("%+v", d)
	}
}
