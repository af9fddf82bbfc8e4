package distill

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filledStore is a store with what several runs asked for, closed: its path, and all answers by their runs.
func filledStore(t testing.TB, dir string) (path string, rows map[string][]string) {
	path = filepath.Join(dir, "responses.db")
	data, err := os.ReadFile("testdata/store/version1.db")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	data, err = os.ReadFile("testdata/store/rows.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &rows))
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	require.NoError(t, s.SetFact(context.Background(), Fact{Teacher: "single", Name: "n for m", Value: "ignored"}))
	require.NoError(t, s.Close())
	return path, rows
}

func verify(t testing.TB, path string) *Verdict {
	r, err := ReadStore(context.Background(), path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()
	v, err := r.Verify(context.Background())
	require.NoError(t, err)
	return v
}

func TestVerifyAWholeStore(t *testing.T) {
	path, _ := filledStore(t, t.TempDir())
	v := verify(t, path)
	assert.True(t, v.Whole(), "%+v", v)
	assert.Equal(t, []int64{96, 175, 0}, []int64{v.Responses, v.Answers, v.Unused})
}

// contents are all rows of a store as text.
func contents(db *sql.DB) (all []string, err error) {
	for _, query := range []string{`SELECT * FROM responses ORDER BY id`, `SELECT * FROM answers ORDER BY key, max_tokens`, `SELECT * FROM facts ORDER BY teacher, name`} {
		rows, err := db.Query(query)
		if err != nil {
			return nil, err
		}
		columns, err := rows.Columns()
		if err != nil {
			return nil, err
		}
		values := make([]any, len(columns))
		to := make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(to...); err != nil {
				return nil, err
			}
			all = append(all, fmt.Sprintf("%q", values))
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// A byte that flips anywhere in the file never makes a wrong answer, and verify finds it unless it is one that nothing
// is read from. The check that is made when a small store is opened is left out: larger stores have none.
func TestFlippedBytes(t *testing.T) {
	defer func(n int64) { quickCheckBytes = n }(quickCheckBytes)
	quickCheckBytes = 0
	ctx := context.Background()
	path, _ := filledStore(t, t.TempDir())
	limits := []int{0, 6, 40, 80}
	s, err := OpenStore(ctx, path)
	require.NoError(t, err)
	want, err := contents(s.db)
	require.NoError(t, err)
	var keys []Key
	rows, err := s.db.Query(`SELECT DISTINCT key FROM answers`)
	require.NoError(t, err)
	for rows.Next() {
		var k []byte
		require.NoError(t, rows.Scan(&k))
		keys = append(keys, Key(k))
	}
	require.NoError(t, rows.Err())
	answers := map[int]map[Key]Answer{}
	for _, limit := range limits {
		answers[limit], err = s.Get(ctx, keys, limit)
		require.NoError(t, err)
		require.NotEmpty(t, answers[limit])
	}
	require.NoError(t, s.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)

	draw := rand.New(rand.NewPCG(11, 12))
	dir := t.TempDir()
	found, harmless := 0, 0
	for trial := range 250 {
		damaged := bytes.Clone(data)
		at := draw.IntN(len(data))
		if trial < 50 {
			at = trial // the header, and the schema's page
		}
		for range 1 + trial%3 { // one byte, or a few beside each other
			damaged[at] ^= byte(1 + draw.IntN(255))
			at = min(at+1, len(data)-1)
		}
		file := filepath.Join(dir, fmt.Sprint(trial, ".db"))
		require.NoError(t, os.WriteFile(file, damaged, 0o600))
		whole := false
		if r, err := ReadStore(ctx, file); err == nil {
			v, err := r.Verify(ctx)
			require.NoError(t, err, "byte %d", at)
			require.NoError(t, r.Close())
			whole = v.Whole()
		}
		s, err := OpenStore(ctx, file)
		if err != nil {
			require.False(t, whole, "byte %d: verify calls whole what cannot be opened: %v", at, err)
			found++
			continue
		}
		for i, k := range keys {
			for _, limit := range limits[i%2 : i%2+2] {
				got, err := s.Get(ctx, []Key{k}, limit)
				if err != nil {
					require.False(t, whole, "byte %d: %v", at, err)
					continue
				}
				a, ok := got[k]
				require.True(t, !ok || reflect.DeepEqual(a, answers[limit][k]), "byte %d: another answer: %q", at, a.Content)
			}
		}
		if whole {
			harmless++
			got, err := contents(s.db)
			require.NoError(t, err)
			require.Equal(t, want, got, "byte %d: verify did not find it", at)
		} else {
			found++
		}
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(file))
	}
	t.Logf("%d found, %d in bytes that nothing is read from", found, harmless)
	assert.Greater(t, found, 120)
	assert.Greater(t, harmless, 10)
}
