package prompts

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func numbered(t testing.TB, n int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"prompt":%q,"answer":"%d"}`, question(i), 2*i)
	}
	return lines(t, rows...)
}

func drawn(t testing.TB, o Options) []string {
	got, err := Read(context.Background(), o)
	require.NoError(t, err)
	return texts(got.Rows)
}

// The order is the one that is documented: by the first eight bytes of a SHA-256 over seed and content.
func TestShuffleByRank(t *testing.T) {
	o := Options{Rows: Rows{Path: Paths{numbered(t, 50)}}, Shuffle: true, Seed: 7}
	got, err := Read(context.Background(), o)
	require.NoError(t, err)
	var ranks []uint64
	for _, p := range got.Rows {
		raw, err := json.Marshal([]any{p.Prompt, nil})
		require.NoError(t, err)
		content := sha256.Sum256(raw)
		assert.Equal(t, hex.EncodeToString(content[:16]), p.ID)
		sum := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, 7), content[:16]...))
		ranks = append(ranks, binary.BigEndian.Uint64(sum[:]))
	}
	assert.Len(t, ranks, 50)
	assert.True(t, slices.IsSorted(ranks))
	other := o
	other.Seed = 8
	assert.NotEqual(t, texts(got.Rows), drawn(t, other))
	assert.ElementsMatch(t, texts(got.Rows), drawn(t, other))
}

func TestSample(t *testing.T) {
	all := Options{Rows: Rows{Path: Paths{numbered(t, 300)}}, Seed: 3}
	some := all
	some.Sample = 40
	got, err := Read(context.Background(), some)
	require.NoError(t, err)
	assert.Equal(t, stillhouse.Account{In: 40, Kept: 40, Dropped: map[string]int64{}}, got.Account)
	assert.Equal(t, int64(260), got.NotDrawn)
	inOrder := texts(got.Rows)
	everything := drawn(t, all)
	assert.True(t, slices.IsSortedFunc(inOrder, func(a, b string) int { return slices.Index(everything, a) - slices.Index(everything, b) }), "in the files' order")

	shuffled := some
	shuffled.Shuffle = true
	assert.ElementsMatch(t, inOrder, drawn(t, shuffled))
	all.Shuffle = true
	assert.Equal(t, drawn(t, all)[:40], drawn(t, shuffled), "a sample is the beginning of the order")

	some.Sample = 1000
	assert.Equal(t, everything, drawn(t, some), "there are not so many")
	some.Sample, some.Limit = 5, 10
	for _, text := range drawn(t, some) {
		assert.Contains(t, everything[:10], text, "limit takes from the start before sample draws")
	}
}

// What is drawn does not depend on how the rows are cut into files, on their order, or on rows that are there twice.
func TestSampleIsOfContent(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(string(must(os.ReadFile(numbered(t, 100))))), "\n")
	one := drawn(t, Options{Rows: Rows{Path: Paths{lines(t, rows...)}}, Sample: 20, Shuffle: true})
	slices.Reverse(rows)
	again := drawn(t, Options{Rows: Rows{Path: Paths{lines(t, append(rows[:70], rows[10:20]...)...), lines(t, rows[60:]...)}}, Sample: 20, Shuffle: true})
	assert.Len(t, one, 20)
	rest := drawn(t, Options{Rows: Rows{Path: Paths{lines(t, rows...)}}, Sample: 20, Shuffle: true})
	assert.Equal(t, rest, again)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Rows of one conversation with ids of their own have one rank; their order in the files decides.
func TestSampleOfEqualRanks(t *testing.T) {
	var rows []string
	for i := range 30 {
		rows = append(rows, fmt.Sprintf(`{"prompt":"same","id":"%02d"}`, i))
	}
	for _, shuffle := range []bool{false, true} {
		got, err := Read(context.Background(), Options{Rows: Rows{Path: Paths{lines(t, rows...)}, ID: "id"}, Sample: 4, Shuffle: shuffle})
		require.NoError(t, err)
		var ids []string
		for _, p := range got.Rows {
			ids = append(ids, p.ID)
		}
		assert.Equal(t, []string{"00", "01", "02", "03"}, ids)
	}
}

// What is read is not held, nor is a sample of it.
func TestScanHoldsFewRows(t *testing.T) {
	const n, width = 8_000, 2_000 // 16 MB of prompts
	path := promptFile(t, "rows.jsonl", nil)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	pad := strings.Repeat("x", width)
	for i := range n {
		fmt.Fprintf(f, `{"prompt":"%d %s"}`+"\n", i, pad)
	}
	require.NoError(t, f.Close())
	for _, sample := range []int{0, n / 2} {
		var most uint64
		i := 0
		s, err := Scan(context.Background(), Options{Rows: Rows{Path: Paths{path}}, Sample: sample}, Sink{Prompt: func(p stillhouse.Prompt) error {
			if i++; i%1000 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			return nil
		}})
		require.NoError(t, err)
		assert.EqualValues(t, i, s.Account.Kept)
		assert.Less(t, most, uint64(8<<20))
	}
}
