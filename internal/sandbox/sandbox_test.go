package sandbox

import (
	"slices"
	"strings"
	"testing"
)

// What bubblewrap is told keeps everything apart, whether or not it is on this machine.
func TestCommand(t *testing.T) {
	s := Sandbox{ReadOnly: []string{"/opt/runtime"}, Limits: Limits{Memory: 64 << 20, CPU: 3, Processes: 1}}
	got := s.Command([]string{"python3", Program}, 3, 4)
	said := strings.Join(got, " ")
	for _, want := range []string{"bwrap --unshare-all ", " --die-with-parent ", " --new-session ", " --cap-drop ALL ", " --clearenv ", " --ro-bind-data 3 /answer/program ",
		" --seccomp 4 ", " --size 16777216 --tmpfs /answer ", " --size 16777216 --tmpfs /tmp ", " --ro-bind /opt/runtime /opt/runtime ", " --remount-ro / ", "sh 65536 3 131072 1 python3 /answer/program"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %s", want, said)
		}
	}
	// All that is bound is read-only, and of the runtime.
	for i, word := range got[:slices.Index(got, "--")] {
		if strings.Contains(word, "bind") && !slices.Contains([]string{"--ro-bind", "--ro-bind-try", "--ro-bind-data"}, word) {
			t.Errorf("%s", word)
		}
		if strings.HasPrefix(word, "--ro-bind") && word != "--ro-bind-data" && !slices.Contains([]string{"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/alternatives", "/etc/ld.so.cache", "/opt/runtime"}, got[i+1]) {
			t.Errorf("%s %s", word, got[i+1])
		}
	}
	if open := (Sandbox{Open: true}).Command([]string{"x"}, -1, -1); open[0] != "sh" || open[len(open)-1] != "x" {
		t.Error(open)
	}
}
