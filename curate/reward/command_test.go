package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// pythonReward is the command of a reward that misbehaves as it is told. The system's Python starts sooner than a version
// manager's.
var pythonReward = func() []string {
	python := "python3"
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		python = "/usr/bin/python3"
	}
	return []string{python, "-I", "-S", "testdata/programs/reward.py"}
}()

func newCommand(t testing.TB, o Command) *commandReward {
	t.Helper()
	o.EnsureDefaults()
	require.NoError(t, o.Validate())
	r, err := o.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.(*commandReward).Close()) })
	return r.(*commandReward)
}

// A program that misbehaves costs its own row a verdict, and the rows after it nothing.
func TestCommandMisbehaves(t *testing.T) {
	testkit.Needs(t, "python3")
	r := newCommand(t, Command{Command: pythonReward})
	for _, tc := range []struct{ does, evidence string }{
		{"die", "the program ended without an answer: no more of this"},
		{"garbage", "which is not {"},
		{"huge", "it answered with more than 1048576 bytes"},
		{"endless", "it answered with more than 1048576 bytes"},
		{"half", "it ended in the middle of an answer"},
		{"other", `it answered to id "somebody", and was asked about "p/0"`},
		{`say {}`, "it gave no score"},
		{`say {"score": "much"}`, "which is no number"},
		{`say {"score": 1, "verdict": "maybe"}`, `it gave the verdict "maybe"`},
	} {
		got := r.Score(context.Background(), candidate("p", 0, "", tc.does, 1))
		assert.Equal(t, stillhouse.Errored, got.Verdict, tc.does)
		assert.Contains(t, got.Evidence, tc.evidence, tc.does)
		assert.True(t, math.IsNaN(got.Score), tc.does)
		got = r.Score(context.Background(), candidate("p", 1, "7", "exact 7", 1))
		assert.Equal(t, stillhouse.Right, got.Verdict, "after %s: %s", tc.does, got.Evidence)
	}
}

func TestCommandSays(t *testing.T) {
	testkit.Needs(t, "python3")
	r := newCommand(t, Command{Command: pythonReward})
	for _, tc := range []struct {
		does string
		want stillhouse.Score
	}{
		{"exact 7", stillhouse.Score{Score: 1, Verdict: stillhouse.Right, Evidence: "row 1"}},
		{"exact 8", stillhouse.Score{Verdict: stillhouse.Wrong, Evidence: "row 2"}},
		{`say {"score": 0.5, "evidence": "so so"}`, stillhouse.Score{Score: 0.5, Verdict: stillhouse.Right, Evidence: "so so"}},
		{`say {"score": 0.5, "verdict": "wrong"}`, stillhouse.Score{Score: 0.5, Verdict: stillhouse.Wrong}},
		{`say {"score": 3, "verdict": "unparsable"}`, stillhouse.Score{Verdict: stillhouse.Unparsable}},
		{`say {"verdict": "unparsable"}`, stillhouse.Score{Verdict: stillhouse.Unparsable}},
		{"\xff\x00 \u2028 " + strings.Repeat("long ", 2_000_000), stillhouse.Score{Score: 1, Verdict: stillhouse.Right, Evidence: "row 7"}},
		{"once", stillhouse.Score{Score: 1, Verdict: stillhouse.Right, Evidence: "row 8"}},
		{"exact 7", stillhouse.Score{Score: 1, Verdict: stillhouse.Right, Evidence: "row 1"}},
		{"twice", stillhouse.Score{Score: 1, Verdict: stillhouse.Right, Evidence: "row 2"}},
	} {
		assert.Equal(t, tc.want, r.Score(context.Background(), candidate("p", 0, "7", tc.does, 1)), shorten(tc.does))
	}
	// What was said beside the last answer is not taken for the next row's.
	assert.Equal(t, stillhouse.Right, r.Score(context.Background(), candidate("q", 1, "7", "exact 7", 1)).Verdict)
	for _, verdict := range []string{stillhouse.Timeout, stillhouse.Errored} {
		got := r.Score(context.Background(), candidate("p", 0, "7", fmt.Sprintf(`say {"verdict": %q}`, verdict), 1))
		assert.Equal(t, verdict, got.Verdict)
		assert.True(t, math.IsNaN(got.Score))
	}
}

// A program that hangs is killed with all that it started, and the rows after it go on.
func TestCommandHangs(t *testing.T) {
	testkit.Needs(t, "python3")
	r := newCommand(t, Command{Command: pythonReward})
	require.Equal(t, stillhouse.Right, r.Score(context.Background(), candidate("p", 0, "7", "exact 7", 1)).Verdict)
	s := <-r.seats
	p := s.program
	r.seats <- s
	ctx, cancel := context.WithCancel(context.Background())
	hangs := filepath.Join(t.TempDir(), "hangs")
	require.NoError(t, syscall.Mkfifo(hangs, 0o600))
	answered := make(chan stillhouse.Score)
	go func() { answered <- r.Score(ctx, candidate("p", 1, "", "hang "+hangs, 1)) }()
	said, err := os.ReadFile(hangs) // waits for the program to open it
	require.NoError(t, err)
	require.Equal(t, "here", string(said))
	cancel()
	assert.Equal(t, stillhouse.Timeout, (<-answered).Verdict)
	assert.NotNil(t, p.cmd.ProcessState, "it was waited for")
	assert.Equal(t, stillhouse.Right, r.Score(context.Background(), candidate("p", 2, "7", "exact 7", 1)).Verdict)
}

func TestCommandOptions(t *testing.T) {
	for want, o := range map[string]Command{
		"command: is missing":        {},
		"concurrency: is -1":         {Command: []string{"x"}, Concurrency: -1},
		"max_output: is -1":          {Command: []string{"x"}, MaxOutput: -1},
		"the command \"no-such-prog": {Command: []string{"no-such-program"}},
	} {
		o.EnsureDefaults()
		err := o.Validate()
		if err == nil {
			_, err = o.New()
		}
		if assert.ErrorContains(t, err, want) {
			assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
		}
	}
	// A program that cannot run costs rows, not the run.
	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("#!/no/such/interpreter\n"), 0o755))
	r := newCommand(t, Command{Command: []string{bad}})
	assert.Contains(t, r.Score(context.Background(), candidate("p", 0, "", "x", 1)).Evidence, "cannot be started")
	// Another version of the file is another version of the reward.
	v := r.Version()
	require.NoError(t, os.WriteFile(bad, []byte("#!/no/such/interpreter/\n"), 0o755))
	assert.NotEqual(t, v, newCommand(t, Command{Command: []string{bad}}).Version())
	assert.NotEqual(t, v, newCommand(t, Command{Command: []string{bad}, Version: "2"}).Version())
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"id": "p/0", "score": 1, "verdict": "right", "evidence": "x"}`))
	f.Add([]byte(`{"id": "p/0", "score": true}`))
	f.Add([]byte(`{"id": "p/0", "score": 1e999}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := readReply(line, "p/0")
		if err != nil {
			return
		}
		none := s.Verdict == stillhouse.Timeout || s.Verdict == stillhouse.Errored
		if math.IsNaN(s.Score) != none || math.IsInf(s.Score, 0) || s.Verdict == stillhouse.Unparsable && s.Score != 0 || s.Verdict == "" || len(s.Evidence) > 1300 {
			t.Errorf("%q: %+v", line, s)
		}
		if !json.Valid(line) {
			t.Errorf("%q was read", line)
		}
	})
}
