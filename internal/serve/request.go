package serve

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/student"
)

// maxSamples, maxStops and maxStop bound what one request may ask for.
const (
	maxSamples = 128
	maxStops   = 16
	maxStop    = 1024 // bytes
)

// chatRequest is the body of POST /v1/chat/completions, as far as it is honoured.
type chatRequest struct {
	Model               string            `json:"model"`
	Messages            []chat.Message    `json:"messages"`
	N                   *int              `json:"n"`
	Seed                *int64            `json:"seed"`
	Temperature         *float64          `json:"temperature"`
	TopP                *float64          `json:"top_p"`
	MaxTokens           *int              `json:"max_tokens"`
	MaxCompletionTokens *int              `json:"max_completion_tokens"`
	Stop                stopStrings       `json:"stop"`
	Stream              bool              `json:"stream"`
	StreamOptions       *streamOptions    `json:"stream_options"`
	Logprobs            bool              `json:"logprobs"`
	Tools               json.RawMessage   `json:"tools"`
	TemplateVars        chat.TemplateVars `json:"chat_template_kwargs"` // as vLLM has it
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// stopStrings is a string, a list of strings, or null.
type stopStrings []string

func (s *stopStrings) UnmarshalJSON(text []byte) error {
	var one *string
	if err := json.Unmarshal(text, &one); err == nil {
		if *s = nil; one != nil {
			*s = stopStrings{*one}
		}
		return nil
	}
	if err := json.Unmarshal(text, (*[]string)(s)); err != nil {
		return errors.New("stop must be a string or a list of strings")
	}
	return nil
}

// neutral are the settings that would change the answer but are not computed, each with the values that change nothing.
var neutral = map[string][]string{
	"frequency_penalty": {"0", "0.0"}, "presence_penalty": {"0", "0.0"}, "repetition_penalty": {"1", "1.0"},
	"logit_bias": {"{}"}, "top_k": {"-1", "0"}, "min_p": {"0", "0.0"}, "top_logprobs": {"0"}, "best_of": {"1"},
	"functions": {"[]"}, "response_format": {`{"type":"text"}`}, "modalities": {`["text"]`}, "audio": {},
	"tool_choice": {`"auto"`, `"none"`}, "stop_token_ids": {"[]"}, "guided_json": {}, "guided_regex": {}, "guided_choice": {},
}

// readRequest reads and checks a request.
func (s *Server) readRequest(w http.ResponseWriter, r *http.Request) (*chatRequest, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		// Also what keeps web pages from sending requests: a browser would ask for permission first.
		return nil, problem{status: http.StatusUnsupportedMediaType, message: "send the request with Content-Type: application/json"}
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(time.Minute)) // a recorder in a test has none
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.options.MaxBody))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return nil, problem{status: http.StatusRequestEntityTooLarge, message: tooLong.Error()}
	} else if err != nil {
		return nil, badRequest("", "the request could not be read: %v", err)
	}
	control.SetReadDeadline(time.Time{})
	var in chatRequest
	if err := json.Unmarshal(text, &in); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, badRequest(wrong.Field, "%s is a JSON %s, which is the wrong type", wrong.Field, wrong.Value)
		}
		return nil, badRequest("", "the request is not a valid JSON object: %v", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, badRequest("", "the request is not a valid JSON object: %v", err)
	}
	for _, key := range sorted(neutral) {
		value, ok := all[key]
		if !ok {
			continue
		}
		if compact := compactJSON(value); compact != "null" && !slices.Contains(neutral[key], compact) {
			return nil, badRequest(key, "%s is not supported: leave it out", key)
		}
	}
	return &in, in.check(s.options.Name)
}

func sorted(m map[string][]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// compactJSON writes a value anew: without spaces, with numbers as in the text.
func compactJSON(value json.RawMessage) string {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return string(value)
	}
	if n, ok := v.(float64); ok && n == 0 {
		return "0"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return string(value)
	}
	return string(text)
}

func (in *chatRequest) check(served string) error {
	switch {
	case in.Model == "":
		return badRequest("model", "model is missing: %q is served here", served)
	case in.Model != served:
		return noModel(in.Model, served)
	case len(in.Messages) == 0:
		return badRequest("messages", "messages is empty: at least one message is needed")
	case in.N != nil && (*in.N < 1 || *in.N > maxSamples):
		return badRequest("n", "n is %d: it must be from 1 to %d", *in.N, maxSamples)
	case in.Temperature != nil && (*in.Temperature < 0 || *in.Temperature > 2):
		return badRequest("temperature", "temperature is %v: it must be from 0 to 2", *in.Temperature)
	case in.TopP != nil && (*in.TopP < 0 || *in.TopP > 1):
		return badRequest("top_p", "top_p is %v: it must be from 0 to 1", *in.TopP)
	case in.MaxTokens != nil && *in.MaxTokens < 1:
		return badRequest("max_tokens", "max_tokens is %d: it must be at least 1", *in.MaxTokens)
	case in.MaxCompletionTokens != nil && *in.MaxCompletionTokens < 1:
		return badRequest("max_completion_tokens", "max_completion_tokens is %d: it must be at least 1", *in.MaxCompletionTokens)
	case len(in.Stop) > maxStops:
		return badRequest("stop", "stop has %d strings: at most %d are possible", len(in.Stop), maxStops)
	case in.StreamOptions != nil && !in.Stream:
		return badRequest("stream_options", "stream_options need stream: true")
	}
	for i, stop := range in.Stop {
		if stop == "" || len(stop) > maxStop {
			return badRequest("stop", "stop[%d] has %d bytes: it must have from 1 to %d", i, len(stop), maxStop)
		}
	}
	for i, m := range in.Messages {
		if !slices.Contains([]string{"system", "developer", "user", "assistant", "tool"}, m.Role) {
			return badRequest("messages", "messages[%d].role is %q: it must be system, developer, user, assistant or tool", i, m.Role)
		}
	}
	return nil
}

// generation is the request as the generator takes it.
func (s *Server) generation(in *chatRequest) (student.Request, error) {
	text, err := s.options.Tokenizer.Render(in.Messages, chat.RenderOptions{AddGenerationPrompt: true, Tools: in.Tools, Vars: in.TemplateVars})
	if err != nil {
		// Whatever it is, it is the conversation that the template does not take.
		return student.Request{}, problem{status: http.StatusBadRequest, message: err.Error(), param: "messages"}
	}
	r := student.Request{Tokens: s.options.Tokenizer.Encode(text), N: 1, Temperature: 1, TopP: 1, Stop: s.stop, Logprobs: in.Logprobs}
	if in.N != nil {
		r.N = *in.N
	}
	if in.Temperature != nil {
		r.Temperature = *in.Temperature
	}
	if in.TopP != nil {
		r.TopP = max(*in.TopP, 1e-9) // 0 is the likeliest token alone
	}
	for _, most := range []*int{in.MaxTokens, in.MaxCompletionTokens} { // the newer name wins
		if most != nil {
			r.MaxTokens = *most
		}
	}
	if in.Seed != nil {
		r.Seed = uint64(*in.Seed)
	} else {
		var random [8]byte
		rand.Read(random[:]) // never fails
		r.Seed = binary.LittleEndian.Uint64(random[:])
	}
	if err := s.generator.Check(r); err != nil {
		p := asProblem(err)
		if limit := s.options.Model.Config.MaxPositionEmbeddings; stillhouse.KindOf(err) == stillhouse.Invalid && (len(r.Tokens) >= limit || r.MaxTokens > limit-len(r.Tokens)) {
			p.code = "context_length_exceeded"
		}
		return student.Request{}, p
	}
	return r, nil
}
