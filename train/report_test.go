package train

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stillhouse"
	"stillhouse/internal/student"
)

// A training tells TensorBoard and Prometheus what its log says.
func TestReports(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := pasted(t, "{report_to: [tensorboard, prometheus], metrics_address: '"+address+"', data: {limit: 8}, max_steps: 2, logging_steps: 1, num_train_epochs: 1, learning_rate: 1e-3}")
	o.Student, o.Data.Path = tiny, golden+"sft/data/pc.jsonl"
	var scraped string
	var said bytes.Buffer
	clock := ticking()
	ui := UI{Out: &said, Now: func() time.Time {
		if answer, err := http.Get("http://" + address + "/metrics"); err == nil { // after the first line there are numbers
			text, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			scraped = string(text)
		}
		return clock()
	}}
	if _, err := Run(t.Context(), o, dir, ui); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "student", "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var first Line
	if err := json.Unmarshal(log[:bytes.IndexByte(log, '\n')], &first); err != nil {
		t.Fatal(err)
	}
	if first.NumTrainedTokens <= 0 || first.NumTrainedTokens >= first.NumTokens || first.TrainedTokensPerS <= 0 || first.GEMMPercent <= 0 || first.MemoryMiB <= 0 || first.PeakMemoryMiB < first.MemoryMiB {
		t.Errorf("%s", log)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "tensorboard", "events.out.tfevents.*"))
	if len(files) != 1 {
		t.Fatalf("event files: %v", files)
	}
	events, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"train/loss", "train/grad_norm", "train/learning_rate", "train/mean_token_accuracy", "train/tokens_per_s", "train/trained_tokens_per_s",
		"train/gemm_percent", "train/memory_mib", "train/num_tokens", "args/text_summary"} {
		if want := 2; bytes.Count(events, []byte(name)) != want && name != "args/text_summary" || !bytes.Contains(events, []byte(name)) {
			t.Errorf("%s is in the events %d times", name, bytes.Count(events, []byte(name)))
		}
	}
	if bytes.Contains(events, []byte("train/step")) {
		t.Error("the step is charted")
	}
	for name, g := range gauges {
		if !strings.HasPrefix(name, "eval_") && !strings.Contains(scraped, "\n"+g.name+`{run="`+filepath.Base(dir)+`"} `) {
			t.Errorf("%s is not in\n%s", g.name, scraped)
		}
	}
	if text := said.String(); !strings.Contains(text, "metrics for Prometheus: http://"+address+"/metrics\n") || !strings.Contains(text, "tensorboard --logdir "+dir) || !strings.Contains(text, " % of GEMM  ") {
		t.Error(text)
	}
	if _, err := http.Get("http://" + address + "/metrics"); err == nil {
		t.Error("the endpoint outlives the training")
	}
}

// What cannot be reported to is refused before the training, and given up in its course.
func TestReportsThatFail(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"{report_to: prometheus, metrics_address: '" + taken.Addr().String() + "'}": "set metrics_address to a free address",
		"{report_to: tensorboard, logging_dir: '" + file + "'}":                     "set logging_dir to a directory that can be written to",
	} {
		g := Training{Options: pasted(t, text)}
		if _, err := newReport(g, t.TempDir(), time.Now, func(string) {}); err == nil || !strings.Contains(err.Error(), want) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", text, err)
		}
	}
	var said []string
	dir := t.TempDir()
	r, err := newReport(Training{Options: pasted(t, "{report_to: tensorboard}"), From: &Resume{Step: 4}}, filepath.Join(dir, "student"), time.Now, func(text string) { said = append(said, text) })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.events.Close(); err != nil { // as a disk that is gone
		t.Fatal(err)
	}
	r.line(5, Line{Step: 5})
	r.line(6, Line{Step: 6})
	r.close()
	if len(said) != 2 || !strings.Contains(said[1], "nothing more is reported to it") {
		t.Errorf("%q", said)
	}
}

// The cost of a step by its parts: a tied head is not looked up and multiplied twice, frozen weights have no gradients
// of their own, and adapters are trained.
func TestWork(t *testing.T) {
	c := student.Config{VocabSize: 10, HiddenSize: 4, IntermediateSize: 8, NumHiddenLayers: 1, NumAttentionHeads: 2, NumKeyValueHeads: 1, HeadDim: 2, TieWordEmbeddings: true}
	m := &student.Model{Config: c, Params: student.Layout(c)}
	const layer = 4*4 + 2*2*4 + 4*4 + 3*4*8
	if w := newWork(m, m.Params); w.token != 6*layer || w.trained != 6*40 {
		t.Errorf("%+v", w)
	}
	adapter := &student.Param{Name: "a", Shape: []int{2, 4}}
	if w := newWork(m, []*student.Param{adapter}); w.token != 4*layer+6*8 || w.trained != 4*40 {
		t.Errorf("%+v", w)
	}
	m.Config.TieWordEmbeddings = false
	m.Params = student.Layout(m.Config)
	if w := newWork(m, m.Params); w.token != 6*layer || w.trained != 6*40 {
		t.Errorf("%+v", w)
	}
}

// The pace of a line is that of the tokens since the line before.
func TestPace(t *testing.T) {
	o := pasted(t, "{max_steps: 2, logging_steps: 1, per_device_train_batch_size: 1}")
	o.Student = tiny
	s := load(t, o)
	x := Example{Row: "a", Tokens: []int32{5, 6, 7, 8}, Labels: []int32{-100, -100, 7, 8}}
	var got []Pace
	_, err := Fit(context.Background(), o, s.Model, []Example{x}, Hooks{Now: ticking(), GEMM: 1e-3, Memory: func() (int64, int64) { return 3 << 20, 5 << 20 },
		Line: func(l Line) error { got = append(got, l.Pace); return nil }})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v %v", err, got)
	}
	for _, p := range got {
		if p.TokensPerS <= 0 || far(p.TokensPerS, 2*p.TrainedTokensPerS, 0.11) || p.GEMMPercent <= 0 || p.MemoryMiB != 3 || p.PeakMemoryMiB != 5 {
			t.Errorf("%+v", p)
		}
	}
}
