package pipelines

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/distill/prompts"
)

// promptsConfig is of n questions, each so many characters longer than a short one, with a duplicate after every 50th and a
// bad row after every 60th.
func promptsConfig(t *testing.T, n, longer int) (c *Config, file string) {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"prompt":"What is %d + 1?%s"}`+"\n", i, strings.Repeat(" ", longer))
		if i%50 == 0 {
			fmt.Fprintf(&b, `{"prompt":"What is %d + 1?%s"}`+"\n", i, strings.Repeat(" ", longer))
		}
		if i%60 == 0 {
			b.WriteString("[]\n")
		}
	}
	file = filepath.Join(t.TempDir(), "prompts.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
	c, err := Load(writeConfig(t, fmt.Sprintf("name: reading\nprompts: {path: '%s', on_bad_row: skip}\ndistill: {endpoint: 'http://127.0.0.1:9/v1', model: m}\ncurate: {rewards: [{length: {max_tokens: 40}}]}\n", file)))
	require.NoError(t, err)
	return c, file
}

// A check keeps what it read for the step after it, in its order, as long as that is little.
func TestPromptsAreReadOnce(t *testing.T) {
	ctx := context.Background()
	told := func(scan func(context.Context, prompts.Sink) (prompts.Summary, error)) (events []string, s prompts.Summary, err error) {
		s, err = scan(ctx, prompts.Sink{
			Prompt: func(p stillhouse.Prompt) error { events = append(events, fmt.Sprint(p)); return nil },
			Bad:    func(b prompts.BadRow) error { events = append(events, fmt.Sprint(b)); return nil },
		})
		return events, s, err
	}
	for _, tc := range []struct {
		rows, longer int
		once         bool
	}{{700, 0, true}, {700, 8000, false}} {
		c, file := promptsConfig(t, tc.rows, tc.longer)
		want, summary, err := told(c.scan)
		require.NoError(t, err)
		require.NoError(t, c.Check(ctx))
		if tc.once {
			require.NoError(t, os.Remove(file))
		}
		got, again, err := told(c.scan)
		require.NoError(t, err)
		assert.Equal(t, summary, again)
		assert.Equal(t, int64(700), again.Account.Kept)
		assert.Equal(t, want, got)
		if !tc.once {
			assert.Empty(t, c.read.rows, "what does not fit is let go")
		}
	}
	c, _ := promptsConfig(t, 700, 0)
	require.NoError(t, c.Check(ctx))
	failed := fmt.Errorf("no room")
	_, err := c.scan(ctx, prompts.Sink{Bad: func(prompts.BadRow) error { return failed }})
	assert.ErrorIs(t, err, failed)
}

// Shards are written side by side, so that a process that is killed may leave some of which others are before them.
func TestPromptsGoOn(t *testing.T) {
	ctx := context.Background()
	c, file := promptsConfig(t, 1100, 0)
	runs := t.TempDir()
	lay := func() error {
		r, err := start(ctx, c, RunOptions{Runs: runs})
		require.NoError(t, err)
		defer r.dir.Close()
		return r.prompts(ctx)
	}
	require.NoError(t, lay())
	shards := func() (data []string) {
		for _, name := range []string{"prompts", "dropped/prompts"} {
			for i := range 5 {
				text, err := os.ReadFile(filepath.Join(runs, "reading", name, fmt.Sprintf("part-%05d.parquet", i)))
				require.NoError(t, err)
				data = append(data, string(text))
			}
		}
		return data
	}
	whole := shards()
	for _, i := range []int{0, 2, 3} {
		require.NoError(t, os.Remove(filepath.Join(runs, "reading/prompts", fmt.Sprintf("part-%05d.parquet", i))))
	}
	require.NoError(t, lay())
	assert.Equal(t, whole, shards())

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, other := range []string{strings.Replace(string(text), "What is 900", "Say what is 900", 1), string(text[:len(text)*3/4])} {
		require.NoError(t, os.WriteFile(file, []byte(other), 0o600))
		assert.ErrorContains(t, lay(), "is not what it was")
	}
	require.NoError(t, os.WriteFile(file, text, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(runs, "reading/prompts/part-00001.parquet"), nil, 0o600))
	err = lay()
	assert.ErrorContains(t, err, "part-00001.parquet")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
}

func TestFirstCollectionWaits(t *testing.T) {
	percent := func() int {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return int(s[0].Value.Uint64())
	}
	before := percent()
	startCollector()
	assert.Equal(t, startPercent, percent())
	for percent() == startPercent { // what follows a collection runs beside it
		runtime.GC()
	}
	assert.Equal(t, before, percent())
	c := startCollector()
	c.set(distillPercent)
	c.end()
	assert.Equal(t, distillPercent, percent(), "a later end of the first collection changes nothing")
	c.restore()
	assert.Equal(t, before, percent())
}
