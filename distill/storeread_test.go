package distill

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func reader(t *testing.T, path string) *StoreReader {
	r, err := ReadStore(context.Background(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func TestList(t *testing.T) {
	path, _ := filledStore(t, t.TempDir())
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	day := time.Date(2026, 12, 1, 23, 59, 59, 0, time.UTC)
	for i, text := range []string{"a", "b", "c"} {
		e := exchangeOf(t, 9, "stop", nil, keyOf(text))
		e.model, e.at = "other", day.Add(time.Duration(i)*time.Second)
		require.NoError(t, s.put(e))
	}
	require.NoError(t, s.Close())
	r := reader(t, path)
	brief := func(sel Selection, by ...string) (out [][]any) {
		groups, err := r.List(context.Background(), sel, by)
		require.NoError(t, err)
		for _, g := range groups {
			out = append(out, []any{g.Teacher, g.Model, g.Day, g.Responses, g.Answers, g.Truncated, g.PromptTokens, g.CompletionTokens})
		}
		return out
	}
	fixture := time.UnixMilli(1_796_000_000_000) // after the fixture was made, before the others
	assert.Equal(t, [][]any{{"", "", "", int64(99), int64(178), int64(7), int64(1249), int64(1249)}}, brief(Selection{}))
	assert.Equal(t, [][]any{
		{"short", "m", "", int64(36), int64(43), int64(7), int64(357), int64(277)},
		{"single", "m", "", int64(36), int64(36), int64(0), int64(645), int64(254)},
		{"test", "m", "", int64(24), int64(96), int64(0), int64(238), int64(703)},
		{"test", "other", "", int64(3), int64(3), int64(0), int64(9), int64(15)},
	}, brief(Selection{}, "teacher", "model"))
	assert.Equal(t, [][]any{
		{"", "", "2026-12-01", int64(1), int64(1), int64(0), int64(3), int64(5)},
		{"", "", "2026-12-02", int64(2), int64(2), int64(0), int64(6), int64(10)},
	}, brief(Selection{Since: fixture}, "day"))
	assert.Equal(t, [][]any{{"", "other", "", int64(1), int64(1), int64(0), int64(3), int64(5)}},
		brief(Selection{Teacher: "test", Model: "other", Since: fixture, Before: day.Add(time.Second)}, "model"))
	assert.Empty(t, brief(Selection{Before: time.Unix(1, 0)}, "teacher"))
	_, err = r.List(context.Background(), Selection{}, []string{"hour"})
	require.ErrorContains(t, err, "teacher, model, day")
}

func TestStats(t *testing.T) {
	path, _ := filledStore(t, t.TempDir())
	r := reader(t, path)
	groups, err := r.List(context.Background(), Selection{}, nil)
	require.NoError(t, err)
	s, err := r.Stats(context.Background(), groups[0].Last.AddDate(0, 0, 20))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, info.Size(), s.Bytes)
	assert.Equal(t, len(migrations), s.Version)
	assert.Equal(t, map[string]int64{"stop": 168, "length": 7}, s.FinishReasons)
	assert.Equal(t, []int64{168, 0, 7, 96, 175}, []int64{s.Keys, s.Unused, s.Superseded, s.Total.Responses, s.Total.Answers})
	assert.Equal(t, []Age{{1, 0}, {7, 0}, {30, 96}, {90, 0}, {365, 0}, {0, 0}}, s.Ages)
	assert.Len(t, s.Groups, 3)
	assert.Len(t, s.Facts, 1)
	assert.Positive(t, s.Packed.Bodies)
}

func TestShow(t *testing.T) {
	path, rows := filledStore(t, t.TempDir())
	r := reader(t, path)
	for _, line := range rows["a higher limit"] {
		fields := strings.SplitN(line, " ", 5)
		key, content := fields[1], fields[4]
		found, err := r.Show(context.Background(), strings.ToUpper(key[:10]))
		require.NoError(t, err)
		last := found[len(found)-1]
		assert.Equal(t, []any{key, content, "short", "m"}, []any{last.Key, last.Content, last.Teacher, last.Model})
		assert.Contains(t, last.Body, content)
		assert.True(t, json.Valid([]byte(last.Request)))
		assert.Contains(t, string(last.Header), "X-Request-Id")
	}
	for key, says := range map[string]string{"": "is no key", "12g4": "is no key", "123": "is no key", strings.Repeat("0", 65): "is no key", "00000000": "no answer under the key"} {
		_, err := r.Show(context.Background(), key)
		require.ErrorContains(t, err, says)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
}

// A store is read as it is: one that is missing is not made, and one that cannot be written can be looked into.
func TestReadStoreChangesNothing(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.db")
	_, err := ReadStore(context.Background(), missing)
	require.ErrorContains(t, err, "there is no response store at")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	assert.NoFileExists(t, missing)
	_, err = ReadStore(context.Background(), dir)
	require.ErrorContains(t, err, "not a regular file")

	path, _ := filledStore(t, dir)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o400))
	require.NoError(t, os.Chmod(dir, 0o500))
	defer func() { _ = os.Chmod(dir, 0o700) }()
	defer func(as func(string) bool) { writable = as }(writable)
	writable = func(string) bool { return false } // whoever runs the test may do all
	assert.Equal(t, []int64{96, 175, 0}, counts(t, path))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

// What a run has put and not yet moved out of SQLite's log is read as well, while the run goes on.
func TestReadStoreInUse(t *testing.T) {
	s := newStore(t)
	put(t, s, 40, "stop", "a", keyOf("a"))
	r := reader(t, s.Path())
	put(t, s, 40, "stop", "b", keyOf("b"))
	groups, err := r.List(context.Background(), Selection{}, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 1, groups[0].Answers, "as it was when it was opened")
	later, err := reader(t, s.Path()).List(context.Background(), Selection{}, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 2, later[0].Answers)
}
