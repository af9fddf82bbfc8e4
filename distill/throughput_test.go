package distill

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"stillhouse"
	"stillhouse/internal/mockteacher"
)

// BenchmarkRequests is what a prompt costs from its row to the answer's row, by way of HTTP and the store. The mock runs
// in the same process.
func BenchmarkRequests(b *testing.B) {
	server := httptest.NewServer(mockteacher.New(mockteacher.Options{}))
	defer server.Close()
	d := &Distill{Options: Options{Endpoint: server.URL + "/v1", Model: "m", Concurrency: 64, MaxTokens: 1024, Store: filepath.Join(b.TempDir(), "responses.db")}}
	defer d.Close()
	if err := d.Open(context.Background()); err != nil {
		b.Fatal(err)
	}
	prompts := questions(b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for from := 0; from < len(prompts); from += 1024 {
		part := prompts[from:min(from+1024, len(prompts))]
		r, err := run(context.Background(), d, part)
		if err != nil || r.Account.Kept != int64(len(part)) {
			b.Fatal(err, r.Account)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	_ = stillhouse.Prompt{}
}
