package spool

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A sorter that spills gives the order that memory gives, and leaves nothing behind.
func TestSorter(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, most := range []int{1, 2000, 1 << 20} {
		s := New("sort", most)
		var want []string
		for i := range 500 {
			rank := sha256.Sum256([]byte(fmt.Sprint(i)))[0]
			text := fmt.Sprintf("%03d %03d", rank, i)
			require.NoError(t, s.Put(Key{uint64(rank), int64(i)}, []byte(text)))
			want = append(want, text)
		}
		left, err := os.ReadDir(os.TempDir())
		require.NoError(t, err)
		assert.Empty(t, left, "the files have no names")
		assert.Equal(t, most < 1<<20, s.Files() > 0)
		slices.Sort(want)
		var got []string
		require.NoError(t, s.Each(context.Background(), func(k Key, data []byte) error {
			assert.Equal(t, fmt.Sprintf("%03d %03d", k.Rank, k.At), string(data))
			got = append(got, string(data))
			return nil
		}))
		assert.Equal(t, want, got)
		require.NoError(t, s.Close())
	}
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	require.ErrorContains(t, New("sort", 1).Put(Key{}, nil), "sort: ")
	require.ErrorContains(t, New("sort", 1).Put(Key{}, nil), "set TMPDIR to a folder that can be written")
}
