package distill

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// earlierRuns are what was asked for with the stores in testdata/store, in this order.
var earlierRuns = []struct {
	name    string
	choices int // that the teacher gave at most
	change  func(*Distill)
}{
	{"n honoured", 0, func(*Distill) {}},
	{"a low limit", 0, func(d *Distill) { d.Identity, d.Samples, d.MaxTokens = "short", Exactly(1), 6 }},
	{"a higher limit", 0, func(d *Distill) { d.Identity, d.Samples = "short", Exactly(2) }},
	{"no limit, more samples", 0, func(d *Distill) { d.Identity, d.Samples, d.MaxTokens = "short", Exactly(3), 0 }},
	{"n ignored", 1, func(d *Distill) {
		d.Identity, d.Samples, d.Temperature, d.TopP, d.Stop, d.System = "single", Exactly(3), new(0.5), new(0.9), []string{"END"}, "Be brief & true."
		d.ExtraBody = map[string]any{"top_k": 20, "chat_template_kwargs": map[string]any{"enable_thinking": false}}
	}},
	{"no seeds", 0, func(d *Distill) { d.Seed = new(int64(-1)) }},
}

func earlierPrompts() []stillhouse.Prompt {
	prompts := questions(12)
	prompts[3].Tools = new(`[{"type":"function","function":{"name":"add","strict":true,"x":1.50}}]`)
	prompts[4].Prompt = []stillhouse.Message{{Role: "user", Content: "a < b & \"c\"\u2028é"}, {Role: "assistant", Content: "yes"}, {Role: "user", Content: "why?"}}
	return prompts
}

func rowsOf(r result) (rows []string) {
	for _, c := range r.Rows {
		rows = append(rows, fmt.Sprintf("%s/%d %s %s %d+%d %s", c.ID, c.Sample, c.RequestKey, c.FinishReason, c.PromptTokens, c.CompletionTokens, c.Text()))
	}
	return rows
}

// Stores of earlier versions are brought up to date when they are opened, and every answer is found: the endpoint, which
// would refuse everything, is not asked.
func TestEarlierStores(t *testing.T) {
	var want map[string][]string
	data, err := os.ReadFile("testdata/store/rows.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &want))
	require.Len(t, want, len(earlierRuns))
	for version := 1; version < len(migrations); version++ {
		data, err := os.ReadFile(fmt.Sprintf("testdata/store/version%d.db", version))
		require.NoError(t, err, "each migration needs a store that was made before it")
		path := filepath.Join(t.TempDir(), "responses.db")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		for range 2 { // the second time the store is up to date
			for _, e := range earlierRuns {
				teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault { return testkit.Status(400, "no", "") }})
				d := newStage(t, teacher, inStore(path), e.change)
				assert.Empty(t, cmp.Diff(want[e.name], rowsOf(mustRun(t, d, earlierPrompts()))), "%s, version %d", e.name, version)
				assert.Zero(t, teacher.Requests(), e.name)
				require.NoError(t, d.Close())
			}
		}
		s, err := OpenStore(context.Background(), path)
		require.NoError(t, err)
		defer s.Close()
		var models, tokens, counted, answers int
		require.NoError(t, s.db.QueryRow(`SELECT count(DISTINCT model), sum(prompt_tokens > 0 AND completion_tokens > 0), count(*) FROM responses`).Scan(&models, &tokens, &counted))
		require.NoError(t, s.db.QueryRow(`SELECT count(*) FROM answers`).Scan(&answers))
		assert.Equal(t, []int{1, 96, 96, 175}, []int{models, tokens, counted, answers}, "as many as there were")
	}
}

// Whoever comes first brings a store up to date, and the others wait; a migration that fails leaves it as it was.
func TestMigrationsAreAllOrNothing(t *testing.T) {
	data, err := os.ReadFile("testdata/store/version1.db")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "responses.db")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	version := func(s *Store) (n int) {
		require.NoError(t, s.db.QueryRow(`PRAGMA user_version`).Scan(&n))
		return n
	}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			s, err := OpenStore(context.Background(), path)
			if assert.NoError(t, err) {
				assert.NoError(t, s.Close())
			}
		})
	}
	all.Wait()
	assert.Equal(t, []int64{96, 175, 0}, counts(t, path))

	now := migrations
	defer func() { migrations = now }()
	migrations = append(slices.Clip(now), migration{`CREATE TABLE more (x); DELETE FROM answers`, func(context.Context, *sql.Tx) error { return errors.New("no") }})
	_, err = OpenStore(context.Background(), path)
	require.ErrorContains(t, err, fmt.Sprintf("bring to version %d", len(now)+1))
	migrations = now
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, len(now), version(s))
	assert.Equal(t, []int64{96, 175, 0}, counts(t, path))
}
