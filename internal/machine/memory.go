package machine

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// root is where the kernel tells of itself; tests put another tree in its place.
var root = "/"

// Available is the memory that a process may still take, in bytes: what the kernel calls available, or what the control
// group leaves, whichever is less. It is 0 when neither is known.
func Available() int64 {
	have := field("proc/meminfo", "MemAvailable:") << 10
	if left, ok := groupLeft(); ok && (have == 0 || left < have) {
		have = left
	}
	return have
}

// Resident is the memory that this process holds now, in bytes, and Peak the most that it has held.
func Resident() int64 { return field("proc/self/status", "VmRSS:") << 10 }

// Peak is the most memory that this process has held, in bytes.
func Peak() int64 { return field("proc/self/status", "VmHWM:") << 10 }

// groupLeft is what the limits of the control groups of this process leave; ok is false when there is no limit.
func groupLeft() (left int64, ok bool) {
	for _, line := range lines("proc/self/cgroup") {
		_, line, _ = strings.Cut(line, ":")
		controllers, path, found := strings.Cut(line, ":")
		base, limit, usage, stat := "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
		switch {
		case !found:
			continue
		case controllers == "memory":
			base, limit, usage, stat = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
		case controllers != "":
			continue
		}
		// Each group above may have a limit of its own. A container sees its own group as the root.
		for dir := filepath.Clean("/" + path); ; dir = filepath.Dir(dir) {
			at := filepath.Join(base, dir)
			most, there := number(filepath.Join(at, limit))
			if used, known := number(filepath.Join(at, usage)); there && known && most < 1<<60 {
				// Pages of files are given back when memory is wanted.
				free := most - used + field(filepath.Join(at, "memory.stat"), stat)
				if free = max(0, min(free, most)); !ok || free < left {
					left, ok = free, true
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return left, ok
}

// number is the number that a file holds alone.
func number(name string) (int64, bool) {
	all := lines(name)
	if len(all) == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(all[0]), 10, 64)
	return n, err == nil
}

// field is the number behind a word at the start of a line, 0 when it is not there.
func field(name, word string) int64 {
	for _, line := range lines(name) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == word {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// lines are the lines of a small file, none when it cannot be read.
func lines(name string) (out []string) {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(io.LimitReader(f, 1<<20)); s.Scan(); {
		out = append(out, s.Text())
	}
	return out
}
