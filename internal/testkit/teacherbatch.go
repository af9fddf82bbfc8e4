package testkit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Batches scripts the teacher's Batch API: /v1/files and /v1/batches. The requests of a batch are answered by the teacher's
// Answer and Fault, when the batch ends: a fault with a status is a line of the error file.
type Batches struct {
	Polls       int                                            // how often a batch is looked at before it has ended
	MaxRequests int                                            // of a batch; by default 50,000
	MaxBytes    int                                            // of a file; by default 200 MB
	MaxOpen     int                                            // batches at work at a time, above which one fails for want of room; 0 is no bound
	End         func(number int) string                        // the status that a batch ends with; by default completed
	Unanswered  func(number int, body string) bool             // requests that an ended batch has no line for
	Refuse      func(r *http.Request, before bool) *BatchFault // asked before a request is done, and after
	NoList      bool                                           // neither files nor batches can be listed
	Reverse     bool                                           // the lines come in another order than that of the requests

	files   map[string]*batchFile
	batches []*batchJob
}

// A BatchFault is a request to the Batch API that goes wrong.
type BatchFault struct {
	Status int
	Body   string
	Reset  bool // the connection is closed
	Cut    bool // what is answered breaks off in the middle
}

type batchFile struct {
	id, name string
	data     []byte
}

type batchJob struct {
	ID           string         `json:"id"`
	Object       string         `json:"object"`
	Endpoint     string         `json:"endpoint"`
	InputFileID  string         `json:"input_file_id"`
	Window       string         `json:"completion_window"`
	Status       string         `json:"status"`
	OutputFileID *string        `json:"output_file_id"`
	ErrorFileID  *string        `json:"error_file_id"`
	CreatedAt    int64          `json:"created_at"`
	Counts       map[string]int `json:"request_counts"`
	Metadata     map[string]any `json:"metadata"`
	Errors       any            `json:"errors"`

	number int
	polls  int
	end    string
}

// BatchCount is how many batches were made, those that failed at once left out.
func (t *Teacher) BatchCount() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.Batches.batches {
		if b.end != "failed" {
			n++
		}
	}
	return n
}

// BatchLines is how many requests each batch had that was not refused.
func (t *Teacher) BatchLines() (n []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.Batches.batches {
		if b.end != "failed" {
			n = append(n, b.Counts["total"])
		}
	}
	return n
}

// FileCount is how many files were uploaded.
func (t *Teacher) FileCount() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.Batches.files {
		if strings.HasPrefix(name, "file-in-") {
			n++
		}
	}
	return n
}

// serveBatch answers a request to the Batch API, and reports whether it was one.
func (t *Teacher) serveBatch(w http.ResponseWriter, r *http.Request) bool {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok || t.Batches == nil || !strings.HasPrefix(path, "files") && !strings.HasPrefix(path, "batches") {
		return false
	}
	if t.Key != "" && r.Header.Get("Authorization") != "Bearer "+t.Key {
		writeTeacherError(w, http.StatusUnauthorized, "", "invalid_request_error", "invalid_api_key", "the key is not right")
		return true
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return true
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if t.batchFault(w, r, true, nil) {
		return true
	}
	status, answer := t.doBatch(r, path, body)
	if t.batchFault(w, r, false, answer) {
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(answer)
	return true
}

func (t *Teacher) batchFault(w http.ResponseWriter, r *http.Request, before bool, answer []byte) bool {
	if t.Batches.Refuse == nil {
		return false
	}
	t.mu.Lock()
	f := t.Batches.Refuse(r, before)
	t.mu.Unlock()
	switch {
	case f == nil:
		return false
	case f.Reset, f.Cut:
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return true
		}
		defer conn.Close()
		if f.Cut {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer[:len(answer)/2])
		} else if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, strings.ReplaceAll(f.Body, "%KEY%", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	return true
}

func (t *Teacher) doBatch(r *http.Request, path string, body []byte) (int, []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.Batches
	if s.files == nil {
		s.files = map[string]*batchFile{}
	}
	refused := func(status int, code, text string) (int, []byte) {
		return status, []byte(errorBody("invalid_request_error", code, text))
	}
	parts := strings.Split(path, "/")
	switch {
	case path == "files" && r.Method == http.MethodPost:
		return s.upload(r, refused)
	case s.NoList && r.Method == http.MethodGet && len(parts) == 1:
		return refused(http.StatusNotFound, "unknown_url", "there is nothing here")
	case path == "files":
		list := []any{}
		for _, f := range s.files {
			list = append(list, f.json())
		}
		return http.StatusOK, mustJSON(map[string]any{"object": "list", "data": list})
	case parts[0] == "files" && len(parts) == 3 && parts[2] == "content":
		if f := s.files[parts[1]]; f != nil {
			return http.StatusOK, f.data
		}
	case path == "batches" && r.Method == http.MethodPost:
		return s.create(body, refused)
	case path == "batches":
		return http.StatusOK, s.list(r)
	case parts[0] == "batches" && len(parts) == 2:
		for _, b := range s.batches {
			if b.ID == parts[1] {
				t.advance(b)
				return http.StatusOK, mustJSON(b)
			}
		}
	}
	return refused(http.StatusNotFound, "not_found", "No such object: "+path)
}

func (f *batchFile) json() map[string]any {
	return map[string]any{"id": f.id, "object": "file", "bytes": len(f.data), "created_at": 1700000000, "filename": f.name, "purpose": "batch", "status": "processed"}
}

func (s *Batches) upload(r *http.Request, refused func(int, string, string) (int, []byte)) (int, []byte) {
	most := s.MaxBytes
	if most == 0 {
		most = 200_000_000
	}
	if err := r.ParseMultipartForm(int64(most) + 1<<20); err != nil {
		return refused(http.StatusBadRequest, "invalid_form", err.Error())
	}
	file, head, err := r.FormFile("file")
	if err != nil || r.FormValue("purpose") != "batch" {
		return refused(http.StatusBadRequest, "invalid_form", "there must be a file, and its purpose must be batch")
	}
	data, err := io.ReadAll(file)
	if err != nil || len(data) > most {
		return refused(http.StatusRequestEntityTooLarge, "file_too_large", fmt.Sprintf("the file has %d bytes", len(data)))
	}
	f := &batchFile{id: fmt.Sprintf("file-in-%d", len(s.files)), name: head.Filename, data: data}
	s.files[f.id] = f
	return http.StatusOK, mustJSON(f.json())
}

func (s *Batches) create(body []byte, refused func(int, string, string) (int, []byte)) (int, []byte) {
	var q struct {
		InputFileID string         `json:"input_file_id"`
		Endpoint    string         `json:"endpoint"`
		Window      string         `json:"completion_window"`
		Metadata    map[string]any `json:"metadata"`
	}
	if err := json.Unmarshal(body, &q); err != nil || q.Endpoint != "/v1/chat/completions" || q.Window == "" {
		return refused(http.StatusBadRequest, "invalid_value", "the batch is not as it should be")
	}
	f := s.files[q.InputFileID]
	if f == nil {
		return refused(http.StatusNotFound, "not_found", "No such File object: "+q.InputFileID)
	}
	b := &batchJob{ID: fmt.Sprintf("batch_%d", len(s.batches)), Object: "batch", Endpoint: q.Endpoint, InputFileID: q.InputFileID, Window: q.Window,
		Status: "validating", CreatedAt: time.Now().Unix(), Metadata: q.Metadata, number: len(s.batches), end: "completed",
		Counts: map[string]int{"total": bytes.Count(bytes.TrimSpace(f.data), []byte("\n")) + 1, "completed": 0, "failed": 0}}
	if s.End != nil {
		b.end = s.End(b.number)
	}
	open := 0
	for _, other := range s.batches {
		if slices.Contains([]string{"validating", "in_progress"}, other.Status) && other.end != "failed" {
			open++
		}
	}
	if s.MaxOpen > 0 && open >= s.MaxOpen {
		b.end = "failed"
		b.fail("token_limit_exceeded", "Enqueued token limit reached for m. Please try again once some in_progress batches have been completed.", nil)
	}
	s.batches = append(s.batches, b)
	return http.StatusOK, mustJSON(b)
}

func (b *batchJob) fail(code, message string, line *int) {
	b.Errors = map[string]any{"object": "list", "data": []any{map[string]any{"code": code, "message": message, "line": line, "param": nil}}}
}

func (s *Batches) list(r *http.Request) []byte {
	const page = 2 // few, so that there are several pages
	data := []*batchJob{}
	after, more := r.URL.Query().Get("after"), false
	seen := after == ""
	for _, b := range slices.Backward(s.batches) {
		if seen && len(data) == page {
			more = true
			break
		}
		if seen {
			data = append(data, b)
		}
		seen = seen || b.ID == after
	}
	return mustJSON(map[string]any{"object": "list", "data": data, "has_more": more})
}

// advance moves a batch on that is looked at, and does its requests when it ends.
func (t *Teacher) advance(b *batchJob) {
	if b.Status == b.end {
		return
	}
	if b.polls++; b.end != "failed" && b.polls <= t.Batches.Polls {
		b.Status = "in_progress"
		return
	}
	b.Status = b.end
	if b.end == "failed" {
		if b.Errors == nil {
			line := 1
			b.fail("model_not_found", "The provided model 'm' is not supported by the Batch API.", &line)
		}
		return
	}
	var output, errors [][]byte
	in := bufio.NewScanner(bytes.NewReader(t.Batches.files[b.InputFileID].data))
	in.Buffer(nil, 64<<20)
	for number := 1; in.Scan(); number++ {
		line, good := t.batchLine(b, number, in.Bytes())
		switch {
		case line == nil:
		case good:
			output = append(output, line)
			b.Counts["completed"]++
		default:
			errors = append(errors, line)
			b.Counts["failed"]++
		}
	}
	keep := func(kind string, lines [][]byte) *string {
		if len(lines) == 0 {
			return nil
		}
		if t.Batches.Reverse {
			slices.Reverse(lines)
		}
		id := "file-" + kind + "-" + b.ID
		t.Batches.files[id] = &batchFile{id: id, name: id + ".jsonl", data: append(bytes.Join(lines, []byte("\n")), '\n')}
		return &id
	}
	b.OutputFileID, b.ErrorFileID = keep("out", output), keep("err", errors)
}

// batchLine does one request of a batch. The teacher's lock is held.
func (t *Teacher) batchLine(b *batchJob, number int, raw []byte) (line []byte, good bool) {
	var q struct {
		CustomID string          `json:"custom_id"`
		Method   string          `json:"method"`
		URL      string          `json:"url"`
		Body     json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(raw, &q); err != nil || q.Method != "POST" || q.URL != "/v1/chat/completions" || q.CustomID == "" {
		panic(fmt.Sprintf("line %d of a batch is no request: %s", number, raw))
	}
	out := map[string]any{"id": fmt.Sprintf("batch_req_%d_%d", b.number, number), "custom_id": q.CustomID, "response": nil, "error": nil}
	if t.Batches.Unanswered != nil && t.Batches.Unanswered(b.number, string(q.Body)) {
		if b.end == "expired" {
			out["error"] = map[string]any{"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
			return mustJSON(out), false
		}
		return nil, false
	}
	call, err := parseCall(q.Body)
	if err != nil {
		out["response"] = map[string]any{"status_code": 400, "request_id": "r", "body": json.RawMessage(errorBody("invalid_request_error", "invalid_json", err.Error()))}
		return mustJSON(out), false
	}
	call, fault := t.arriveLocked(call)
	t.inFlight--
	if t.RefuseN && call.N > 1 {
		fault = Status(http.StatusBadRequest, "invalid_value", "")
	}
	if fault != nil {
		out["response"] = map[string]any{"status_code": max(fault.Status, 200), "request_id": "r", "body": json.RawMessage(fault.Body)}
		return mustJSON(out), fault.Status < 300
	}
	t.bodies[call.Body].Answered++
	out["response"] = map[string]any{"status_code": 200, "request_id": fmt.Sprintf("req-%d", call.Number), "body": json.RawMessage(t.answer(call))}
	return mustJSON(out), true
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // only a test's own broken JSON gets here
		panic(err)
	}
	return b
}
