package metrics

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

// records splits a file into TFRecords and checks their checksums.
func records(t *testing.T, data []byte) (out [][]byte) {
	t.Helper()
	for len(data) > 0 {
		if len(data) < 16 {
			t.Fatalf("%d bytes are left over", len(data))
		}
		n := int(binary.LittleEndian.Uint64(data))
		if len(data) < 16+n || binary.LittleEndian.Uint32(data[8:]) != masked(data[:8]) || binary.LittleEndian.Uint32(data[12+n:]) != masked(data[12:12+n]) {
			t.Fatal("a record is cut short or its checksum is wrong")
		}
		out = append(out, data[12:12+n])
		data = data[16+n:]
	}
	return out
}

// fields are a message's fields by number: bytes, or the bits of a number.
func fields(t *testing.T, message []byte) map[protowire.Number][]any {
	t.Helper()
	out := map[protowire.Number][]any{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		message = message[n:]
		var v any
		switch kind {
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(message)
		case protowire.Fixed32Type:
			v, n = protowire.ConsumeFixed32(message)
		}
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		out[number] = append(out[number], v)
		message = message[n:]
	}
	return out
}

// read says in a line each what is in the event files of a directory, file by file.
func read(t *testing.T, dir string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records(t, data) {
			e := fields(t, r)
			step := uint64(0)
			if s := e[2]; s != nil {
				step = s[0].(uint64)
			}
			line := fmt.Sprintf("%.1f %d", math.Float64frombits(e[1][0].(uint64)), step)
			for _, v := range e[3] {
				line += fmt.Sprintf(" version %s", v)
			}
			for _, v := range e[7] {
				line += fmt.Sprintf(" session %d", fields(t, v.([]byte))[1][0])
			}
			for _, s := range e[5] {
				for _, v := range fields(t, s.([]byte))[1] {
					value := fields(t, v.([]byte))
					line += fmt.Sprintf(" %s", value[1][0])
					for _, f := range value[2] {
						line += fmt.Sprintf("=%v", math.Float32frombits(f.(uint32)))
					}
					for _, f := range value[8] {
						line += fmt.Sprintf("=%s", fields(t, f.([]byte))[8][0])
					}
				}
			}
			out = append(out, line)
		}
	}
	return out
}

func TestEvents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "tensorboard")
	at := time.Unix(1700000000, 500_000_000)
	e, err := CreateEvents(dir, at, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Text("args", "a: 1", at); err != nil {
		t.Fatal(err)
	}
	for step := 1; step <= 2; step++ {
		if err := e.Scalars(step, at.Add(time.Second), []Scalar{{"train/loss", 2.5 / float64(step)}, {"train/é", -1}}); err != nil {
			t.Fatal(err)
		}
		if n := len(read(t, dir)); n != 3+step {
			t.Errorf("%d events are in the file after step %d", n, step)
		}
	}
	again, err := CreateEvents(dir, at, 1) // in the same second
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Scalars(2, at, []Scalar{{"train/loss", math.NaN()}}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1700000000.5 0 version brain.Event:2",
		"1700000000.5 1 session 1",
		"1700000000.5 0 args/text_summary=a: 1",
		"1700000001.5 1 train/loss=2.5 train/é=-1",
		"1700000001.5 2 train/loss=1.25 train/é=-1",
		"1700000000.5 0 version brain.Event:2",
		"1700000000.5 2 session 1",
		"1700000000.5 2 train/loss=NaN",
	}
	if d := cmp.Diff(want, read(t, dir)); d != "" {
		t.Error(d)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Scalars(3, at, nil); err == nil {
		t.Error("a closed file takes more")
	}
	if _, err := CreateEvents(filepath.Join(dir, "events.out.tfevents.x", "y"), at, 0); err != nil {
		t.Error(err) // a folder of such a name is a folder
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateEvents(filepath.Join(file, "y"), at, 0); err == nil {
		t.Error("a file is no directory")
	}
}

// The checksum of 32 zero bytes is known (RFC 3720, B.4), and so is how it is masked.
func TestChecksum(t *testing.T) {
	sum := uint32(0x8a9136aa)
	if got, want := masked(make([]byte, 32)), (sum>>15|sum<<17)+0xa282ead8; got != want {
		t.Errorf("%#x, not %#x", got, want)
	}
}

func get(t *testing.T, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestEndpoint(t *testing.T) {
	e, err := Listen("127.0.0.1:0", `a "run"`)
	if err != nil {
		t.Fatal(err)
	}
	if code, text := get(t, "GET", e.URL()); code != 200 || strings.Contains(text, "stillhouse_") || !strings.Contains(text, "process_resident_memory_bytes ") {
		t.Errorf("before the first line: %d %s", code, text)
	}
	e.Set([]Gauge{{Name: "stillhouse_train_loss", Help: "Loss.", Value: 3}, {Name: "stillhouse_train_tokens_total", Help: "Tokens.", Total: true, Value: 7}})
	e.Set([]Gauge{{Name: "stillhouse_train_loss", Help: "Loss.", Value: 2.5}})
	code, text := get(t, "GET", e.URL())
	for _, want := range []string{
		"# HELP stillhouse_train_loss Loss.\n# TYPE stillhouse_train_loss gauge\nstillhouse_train_loss{run=\"a \\\"run\\\"\"} 2.5\n",
		"# TYPE stillhouse_train_tokens_total counter\nstillhouse_train_tokens_total{run=\"a \\\"run\\\"\"} 7\n",
	} {
		if code != 200 || !strings.Contains(text, want) {
			t.Errorf("%d: %q is not in\n%s", code, want, text)
		}
	}
	if code, _ := get(t, "POST", e.URL()); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	if code, _ := get(t, "GET", strings.TrimSuffix(e.URL(), "/metrics")+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("another path: %d", code)
	}
	elsewhere, err := http.NewRequestWithContext(t.Context(), "GET", e.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.Host = "evil.example"
	if answer, err := http.DefaultClient.Do(elsewhere); err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("under another name: %v, %v", answer, err)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(e.URL(), "http://"), "/metrics")
	if _, err := Listen(address, "x"); err == nil {
		t.Error("an address is served twice")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the address is not free afterwards: %v", err)
	}
	_ = l.Close()
}
