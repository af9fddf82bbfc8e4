package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat"
)

// The gate stands before the first update. It shows one row token by token, and refuses what would train a student that
// does not do what the rows say:
//
//   - a row whose prompt is not the beginning of prompt and completion ([Encoder.Encode])
//   - a row that is trained with another context than the student is asked with (asked)
//   - rows of which none trains the end of a turn ([Encoder.CheckEnds])

// gate shows a row and checks all of them.
func (s *Student) gate(examples []Example, ui UI) error {
	enc, err := NewEncoder(s.Options, s.Tokenizer)
	if err != nil {
		return err
	}
	if len(examples) > 0 {
		ui.mask(enc.Mask(examples[0]))
	}
	if err := enc.CheckEnds(examples, s.Model.Config.EOSTokenIDs); err != nil {
		if !s.Options.leavesEndsOut() {
			return err
		}
		ui.say("warning: no row trains the end of a turn, as mask_pad_token %t and append_eos %s (compat: %s) want it: the student will not learn to stop",
			*s.Options.MaskPadToken, s.Options.AppendEOS, s.Options.Compat)
	}
	ends, stops := 0, enc.ends(s.Model.Config.EOSTokenIDs)
	for _, x := range examples {
		if x.trains(stops) {
			ends++
		}
	}
	ui.say("%d of %d rows train the end of a turn", ends, len(examples))
	return nil
}

// asked is an error when a conversation that became tokens does not begin with what the student is asked with: the
// messages before the last answer with a generation prompt, as [Student.Ask] and the evaluation render them. They know
// o.AskKwargs and none of the row's own chat_template_kwargs. Rows of plain strings are never asked so.
//
// Of a row with a prompt the token ids are compared. Of a row that trains every token it is the text: the prompt's last
// token may join with what follows it there, as it does in TRL.
func (e *Encoder) asked(r Row, tokens []int32) error {
	as := r
	as.Vars = e.o.AskKwargs
	switch r.kind() {
	case pair:
		if isString(r.Prompt) || !e.depends(r) {
			return nil // Encode has compared the prompt with a generation prompt already
		}
		ask, err := e.template(as, r.Prompt, true)
		if err != nil {
			return err
		}
		if same := begins(ask, tokens); same < len(ask) {
			after := func(ids []int32) string { return e.tok.Decode(ids[same:min(len(ids), same+12)], false) }
			return e.otherwise(r, fmt.Sprintf("from token %d", same), after(ask), after(tokens))
		}
	case conversation:
		prompt, err := beforeAnswer(r.Messages)
		if err != nil || prompt == nil {
			return err
		}
		ask, err := e.render(as, prompt, true)
		if err != nil {
			return err
		}
		row, err := e.render(r, r.Messages, false)
		if err != nil {
			return err
		}
		if same := begins([]byte(ask), []byte(row)); same < len(ask) {
			after := func(s string) string { return strings.ToValidUTF8(s[same:min(len(s), same+60)], "") }
			return e.otherwise(r, fmt.Sprintf("from byte %d", same), after(ask), after(row))
		}
	}
	return nil
}

// begins is how far one list is the beginning of another.
func begins[T comparable](prefix, whole []T) (same int) {
	for same < min(len(prefix), len(whole)) && prefix[same] == whole[same] {
		same++
	}
	return same
}

// beforeAnswer is a conversation up to its last assistant message, nil when nobody answers or nothing is asked.
func beforeAnswer(conversation json.RawMessage) (json.RawMessage, error) {
	var list []json.RawMessage
	var roles []struct{ Role string }
	if err := json.Unmarshal(conversation, &list); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(conversation, &roles); err != nil {
		return nil, err
	}
	for last := len(roles) - 1; last > 0; last-- {
		if roles[last].Role == "assistant" {
			return json.Marshal(list[:last])
		}
	}
	return nil, nil
}

// otherwise says where training and asking part, and what to do.
func (e *Encoder) otherwise(r Row, where, ask, row string) error {
	return stillhouse.Invalidf("%s: it would be trained with another context than the student is asked with: %s on the student is asked with %q, and the row has %q; %s",
		r.Name, where, ask, row, e.remedy(r))
}

// depends reports whether the chat template reads a variable that differs between training and asking.
func (e *Encoder) depends(r Row) bool {
	names := slices.AppendSeq(slices.Collect(maps.Keys(r.Vars)), maps.Keys(e.o.AskKwargs))
	return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(e.tok.Template(), name) })
}

// remedy says what to change when a row is trained otherwise than it is asked.
func (e *Encoder) remedy(r Row) string {
	show := func(vars map[string]any) string {
		text, err := json.Marshal(vars)
		if err != nil || len(vars) == 0 {
			return "none"
		}
		return string(text)
	}
	if !e.depends(r) {
		return "use a chat template whose generation prompt is the beginning of an answer (chat_template_path)"
	}
	return fmt.Sprintf("the chat template has %s in training (the row's chat_template_kwargs) and %s in asking (ask_kwargs): make them alike, "+
		"as with ask_kwargs: {enable_thinking: true} for rows with reasoning", show(r.Vars), show(e.o.AskKwargs))
}

// ends are the tokens that end a turn: the end-of-sequence token, those at which the model stops, and the special token
// that the chat template puts after an answer.
func (e *Encoder) ends(stops []int) []int32 {
	ids := []int32{e.eosID}
	for _, s := range stops {
		ids = append(ids, int32(s))
	}
	const answer = "stillhouse"
	text, err := e.tok.Render([]chat.Message{{Role: "user", Content: "?"}, {Role: "assistant", Content: answer}}, chat.RenderOptions{Vars: e.vars})
	if err != nil { // a template that takes no such conversation ends no turn
		return ids
	}
	if at := strings.LastIndex(text, answer); at >= 0 {
		for _, id := range e.tok.Encode(text[at+len(answer):]) {
			if e.tok.IsSpecial(id) {
				return append(ids, id)
			}
		}
	}
	return ids
}

// CheckEnds is an error when no row trains a token that ends a turn: such a student would never stop. stops are the
// tokens at which the model stops.
func (e *Encoder) CheckEnds(examples []Example, stops []int) error {
	ids := e.ends(stops)
	for _, x := range examples {
		if x.trains(ids) {
			return nil
		}
	}
	var tokens []string
	for _, id := range ids {
		if t := fmt.Sprintf("%q", e.tok.Token(id)); !slices.Contains(tokens, t) {
			tokens = append(tokens, t)
		}
	}
	return stillhouse.Invalidf("none of %d rows trains a token that ends a turn (%s), so the student would never learn to stop: "+
		"raise max_length if the rows are cut, or set eos_token or chat_template_path so that a turn's end is part of the completion",
		len(examples), strings.Join(tokens, ", "))
}
