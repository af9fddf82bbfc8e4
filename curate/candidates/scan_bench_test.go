package candidates

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stillhouse/internal/rowfile"
)

// BenchmarkScan reads a million candidates of 250,000 prompts, the four of each in four files (NeMo-Skills' output-rsN.jsonl,
// 500 bytes a row), and tells the most memory that the process had.
func BenchmarkScan(b *testing.B) {
	const prompts, seeds = 250_000, 4
	dir := b.TempDir()
	said := strings.Repeat("First add the two numbers, then look at the sum once more. ", 5)
	for s := range seeds {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("output-rs%d.jsonl", s)))
		require.NoError(b, err)
		w := bufio.NewWriter(f)
		for i := range prompts {
			fmt.Fprintf(w, `{"num_generated_tokens":70,"finish_reason":"stop","generation":"%sThe answer is %d.","problem":"What is %d plus %d, and why does the order of the two not matter to the sum?","expected_answer":"%d"}`+"\n",
				said, 2*i+1, i, i+1, 2*i+1)
		}
		require.NoError(b, w.Flush())
		require.NoError(b, f.Close())
	}
	before := processorTime(b)
	for b.Loop() {
		last, n := "", 0
		s, err := Scan(context.Background(), Options{Path: rowfile.Paths{filepath.Join(dir, "*.jsonl")}}, func(items []Item) error {
			require.Len(b, items, seeds)
			require.NotEqual(b, last, items[0].ID)
			last, n = items[0].ID, n+seeds
			return nil
		})
		require.NoError(b, err)
		require.EqualValues(b, prompts*seeds, s.Account.Kept)
		require.Equal(b, prompts*seeds, n)
	}
	b.ReportMetric(prompts*seeds*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(prompts*seeds*float64(b.N)/(processorTime(b)-before).Seconds(), "rows/cpu-s")
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status); m != nil {
		kb, err := strconv.Atoi(string(m[1]))
		require.NoError(b, err)
		b.ReportMetric(float64(kb)/1024, "peak-MiB")
	}
}

// processorTime is what the process has used, which other work on the machine does not change.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
