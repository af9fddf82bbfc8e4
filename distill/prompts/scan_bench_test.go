package prompts

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

// BenchmarkScan reads a million rows of JSONL, plain, with a template, for a sample and in an order of their own, and tells
// what it holds at most.
func BenchmarkScan(b *testing.B) {
	const n = 1_000_000
	path := filepath.Join(b.TempDir(), "rows.jsonl")
	f, err := os.Create(path)
	require.NoError(b, err)
	w := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintf(w, `{"question":"What is %d plus %d, and why does the order of the two not matter to the sum?","answer":"%d"}`+"\n", i, i+1, 2*i+1)
	}
	require.NoError(b, w.Flush())
	require.NoError(b, f.Close())
	rows := Rows{Path: Paths{path}, Prompt: "question", Reference: "answer"}
	templated := rows
	templated.Prompt, templated.Template = "", Template{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Q: {{ question | trim }}"}}
	for name, o := range map[string]Options{"plain": {Rows: rows}, "template": {Rows: templated}, "sample": {Rows: rows, Sample: 1000}, "shuffle": {Rows: rows, Shuffle: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var most uint64
				i := 0
				look := func() {
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
				_, err := Scan(context.Background(), o, Sink{Prompt: func(stillhouse.Prompt) error {
					if i++; i%100_000 == 1 {
						look()
					}
					return nil
				}})
				require.NoError(b, err)
				b.ReportMetric(float64(most)/(1<<20), "MiB")
			}
		})
	}
}
