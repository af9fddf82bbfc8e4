package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
)

// stream sends an answer as server-sent events, and reports whether it sent all of it.
func (t *Teacher) stream(ctx context.Context, w http.ResponseWriter, c Call, answer []byte, f *Fault) bool {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	pieces := events(c, answer)
	if f != nil && f.Unended {
		pieces = pieces[:len(pieces)-2]
	}
	for i, piece := range pieces {
		if f != nil && f.Silent != nil && i == 2 {
			select {
			case <-f.Silent:
			case <-ctx.Done():
				return false
			}
		}
		if _, err := w.Write(piece); err != nil {
			return false
		}
		if i < 2 { // after that as they come
			_ = http.NewResponseController(w).Flush()
		}
	}
	return f == nil || !f.Unended
}

type object = map[string]json.RawMessage

// events cuts an answer into the events of a stream: of each choice by turns its role, pieces of its texts and of its
// calls' arguments, and why it ended; then the counts, and [DONE]. Comments stand between them.
func events(c Call, answer []byte) (out [][]byte) {
	var body object
	var choices []object
	read(answer, &body)
	read(body["choices"], &choices)
	base := object{"object": quoted("chat.completion.chunk")}
	for _, name := range []string{"id", "created", "model", "system_fingerprint"} {
		if v, ok := body[name]; ok {
			base[name] = v
		}
	}
	say := func(choices any, usage json.RawMessage) {
		event := object{"choices": raw(choices)}
		for name, v := range base {
			event[name] = v
		}
		if c.StreamUsage {
			event["usage"] = usage
		}
		out = append(out, append(append([]byte("data: "), raw(event)...), "\n\n"...))
	}
	comment := func() { out = append(out, []byte(": keep-alive\n\n")) }
	var turns [][]object // of each choice its deltas
	for _, choice := range choices {
		turns = append(turns, deltas(choice))
	}
	comment()
	for i, more := 0, true; more; i++ {
		more = false
		for n, parts := range turns {
			if i >= len(parts) {
				continue
			}
			more = true
			piece := object{"index": choices[n]["index"], "delta": raw(parts[i]), "finish_reason": raw(nil), "logprobs": raw(nil)}
			if i == len(parts)-1 {
				for _, name := range []string{"finish_reason", "logprobs", "error"} {
					if v, ok := choices[n][name]; ok {
						piece[name] = v
					}
				}
			}
			say([]object{piece}, raw(nil))
		}
		comment()
	}
	if usage, ok := body["usage"]; ok && c.StreamUsage {
		say([]any{}, usage)
	}
	return append(out, []byte("data: [DONE]\n\n"))
}

// deltas are the pieces of a choice's message; the last is empty.
func deltas(choice object) []object {
	var message object
	read(choice["message"], &message)
	out := []object{{"role": quoted("assistant")}}
	for _, name := range []string{"reasoning_content", "reasoning", "refusal", "content"} {
		var text string
		if v, ok := message[name]; !ok || string(v) == "null" {
			continue
		} else if json.Unmarshal(v, &text) != nil {
			out = append(out, object{name: v}) // parts
			continue
		}
		if text == "" {
			out = append(out, object{name: quoted("")})
		}
		for _, piece := range strings.SplitAfter(text, " ") {
			if piece != "" {
				out = append(out, object{name: quoted(piece)})
			}
		}
	}
	var calls []object
	read(message["tool_calls"], &calls)
	for i, call := range calls {
		var function object
		var arguments string
		read(call["function"], &function)
		read(function["arguments"], &arguments)
		half := len(arguments) / 2
		for half > 0 && arguments[half]&0xc0 == 0x80 { // not within a character
			half--
		}
		out = append(out,
			object{"tool_calls": raw([]object{{"index": raw(i), "id": call["id"], "type": call["type"], "function": raw(object{"name": function["name"], "arguments": quoted(arguments[:half])})}})},
			object{"tool_calls": raw([]object{{"index": raw(i), "function": raw(object{"arguments": quoted(arguments[half:])})}})})
	}
	return append(out, object{})
}

// read takes a part of an answer apart that was put together here.
func read(data json.RawMessage, into any) {
	if len(data) == 0 {
		return
	}
	if err := json.Unmarshal(data, into); err != nil {
		panic(err)
	}
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // only a test's own broken JSON gets here
		panic(err)
	}
	return bytes.TrimSpace(b)
}

func quoted(s string) json.RawMessage { return raw(s) }
