package distill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// numberedKey is a key that follows from a number.
func numberedKey(i uint64) Key { return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, i)) }

// typical is what an endpoint gives for a question of some sentences: an answer of 100 words.
func typical(b *testing.B) (request, header, body []byte) {
	draw := rand.New(rand.NewPCG(1, 2))
	words := bytes.Fields([]byte("copper vapour grain barley mash cask oak river stone proof still worm spirit peat cut heart"))
	text := func(n int) (out []byte) {
		for range n {
			out = append(append(out, words[draw.IntN(len(words))]...), fmt.Sprintf(" %d ", draw.IntN(1000))...)
		}
		return out
	}
	request = fmt.Appendf(nil, `{"max_tokens":512,"messages":[{"content":"%s","role":"user"}],"model":"mock","seed":123456789,"temperature":1}`, text(20))
	header = []byte(`{"Content-Type":"application/json","Date":"Sun, 29 Nov 2026 17:24:50 GMT","X-Request-Id":"req-8173"}`)
	body = fmt.Appendf(nil, `{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":100,"total_tokens":130}}`, text(100))
	_, err := parseReply(body)
	require.NoError(b, err)
	return request, header, body
}

// spent reports what a request took: its share of the processors' time, which does not depend on what else the machine
// does, and how many there were a second.
func spent(b *testing.B) func() {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	return func() {
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
			b.Fatal(err)
		}
		cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	}
}

// BenchmarkStore is what the store costs a request: a lookup that finds nothing and a put that waits until it is
// durable, of 64 goroutines at a time. With "packed" the compression is counted too.
func BenchmarkStore(b *testing.B) {
	request, header, body := typical(b)
	reply, err := parseReply(body)
	require.NoError(b, err)
	request0, header0, body0 := pack(request), pack(header), pack(body)
	for _, packed := range []bool{false, true} {
		name := "stored"
		if packed {
			name = "packed"
		}
		b.Run(name, func(b *testing.B) {
			s := newStore(b)
			var n atomic.Uint64
			b.SetParallelism(32)
			b.ReportAllocs()
			defer spent(b)()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					key := numberedKey(n.Add(1))
					if _, err := s.Get(context.Background(), []Key{key}, 0); err != nil {
						b.Error(err)
					}
					e := &exchange{teacher: "test", keys: []Key{key}, reply: reply, request: request0, header: header0, body: body0, at: time.Unix(1, 0)}
					if packed {
						e.request, e.header, e.body = pack(request), pack(header), pack(body)
					}
					if err := s.put(e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
	b.Run("replayed", func(b *testing.B) {
		s := newStore(b)
		const answers = 4096
		for i := range uint64(answers) {
			require.NoError(b, s.put(&exchange{teacher: "test", keys: []Key{numberedKey(i)}, reply: reply, request: request0, header: header0, body: body0, at: time.Unix(1, 0)}))
		}
		b.SetParallelism(32)
		b.ReportAllocs()
		b.ResetTimer()
		defer spent(b)()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				key := numberedKey(rand.Uint64N(answers))
				if found, err := s.Get(context.Background(), []Key{key}, 0); err != nil || len(found) != 1 {
					b.Error(err)
				}
			}
		})
	})
}
