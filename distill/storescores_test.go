package distill

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func scoreKey(n int) (key [32]byte) {
	copy(key[:], fmt.Sprintf("key %d", n))
	return key
}

func TestScoresAreKept(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "responses.db")
	s, err := OpenStore(ctx, path)
	require.NoError(t, err)
	const n = 2*scoresAtOnce + 1
	var keys [][32]byte
	want := map[[32]byte]stillhouse.Score{}
	for i := range n {
		score := stillhouse.Score{Score: 1 / float64(i+3), Verdict: stillhouse.Wrong, Evidence: fmt.Sprintf("é\x00 %d", i)}
		keys, want[scoreKey(i)] = append(keys, scoreKey(i)), score
		if i%2 == 0 {
			got, err := s.KeepScore(ctx, scoreKey(i), "judge", score)
			require.NoError(t, err)
			require.Equal(t, score, got)
		} else {
			delete(want, scoreKey(i))
		}
	}
	require.NoError(t, s.Close())
	s, err = OpenStore(ctx, path)
	require.NoError(t, err)
	defer s.Close()
	got, err := s.Scores(ctx, keys)
	require.NoError(t, err)
	require.Equal(t, want, got)

	// The first score under a key stays.
	was, err := s.KeepScore(ctx, scoreKey(0), "judge", stillhouse.Score{Score: 9, Verdict: stillhouse.Right})
	require.NoError(t, err)
	require.Equal(t, want[scoreKey(0)], was)
	none, err := s.Scores(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, none)
	v := verify(t, path)
	require.True(t, v.Whole(), "%+v", v)
	require.EqualValues(t, len(want), v.Scores)
	r, err := ReadStore(ctx, path)
	require.NoError(t, err)
	defer r.Close()
	stats, err := r.Stats(ctx, time.Now())
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"judge": int64(len(want))}, stats.Scores)
}

// Of many who keep a score under one key at once, all are told the same one.
func TestOneScoreAKey(t *testing.T) {
	ctx := context.Background()
	s, err := OpenStore(ctx, filepath.Join(t.TempDir(), "responses.db"))
	require.NoError(t, err)
	defer s.Close()
	var mu sync.Mutex
	var all sync.WaitGroup
	told := map[float64]bool{}
	for i := range 16 {
		all.Go(func() {
			got, err := s.KeepScore(ctx, scoreKey(1), "judge", stillhouse.Score{Score: float64(i), Verdict: stillhouse.Right})
			if assert.NoError(t, err) {
				mu.Lock()
				defer mu.Unlock()
				told[got.Score] = true
			}
		})
	}
	all.Wait()
	require.Len(t, told, 1)
}

// A score whose bytes have changed is one that is not there: it is told by verify, and taken the place of.
func TestDamagedScores(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "responses.db")
	s, err := OpenStore(ctx, path)
	require.NoError(t, err)
	defer s.Close()
	score := stillhouse.Score{Score: 0.25, Verdict: stillhouse.Right, Evidence: "e"}
	for column, value := range map[string]any{"score": int64(math.Float64bits(0.75)), "verdict": "wrong", "evidence": "f", "reward": "code", "created": 5, "sum": "text"} {
		_, err = s.KeepScore(ctx, scoreKey(1), "judge", score)
		require.NoError(t, err)
		_, err = s.db.Exec(`UPDATE scores SET `+column+` = ?`, value)
		require.NoError(t, err)
		got, err := s.Scores(ctx, [][32]byte{scoreKey(1)})
		require.NoError(t, err)
		require.Empty(t, got, column)
		v := verify(t, path)
		require.EqualValues(t, 1, v.DamagedScores, column)
		require.False(t, v.Whole(), column)
		kept, err := s.KeepScore(ctx, scoreKey(1), "judge", score)
		require.NoError(t, err)
		require.Equal(t, score, kept)
		require.True(t, verify(t, path).Whole(), column)
	}
}

func TestScoresAreCleanedUp(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "responses.db")
	s, err := OpenStore(ctx, path)
	require.NoError(t, err)
	defer s.Close()
	for i := range gcPiece + 5 {
		_, err := s.KeepScore(ctx, scoreKey(i), "judge", stillhouse.Score{Verdict: stillhouse.Right})
		require.NoError(t, err)
	}
	for _, step := range []struct {
		c    Cleaning
		n    int64
		left int64
	}{
		{Cleaning{Scores: true, Before: time.Now().Add(-time.Hour)}, 0, gcPiece + 5},
		{Cleaning{Scores: true, DryRun: true}, gcPiece + 5, gcPiece + 5},
		{Cleaning{Scores: true}, gcPiece + 5, 0},
	} {
		done, err := s.Clean(ctx, step.c)
		require.NoError(t, err)
		require.Equal(t, step.n, done.Scores, "%+v", step.c)
		require.Equal(t, step.left, verify(t, path).Scores, "%+v", step.c)
	}
	_, err = s.Clean(ctx, Cleaning{Scores: true, Model: "m"})
	require.ErrorContains(t, err, "--scores selects what rewards said")
}
