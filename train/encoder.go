package train

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/student"
)

// An Encoder turns rows into token ids and labels as SFTTrainer of TRL 1.16 does (_prepare_dataset). It may be used from
// several goroutines at once.
type Encoder struct {
	o     Options
	tok   *chat.Tokenizer
	eos   string
	vars  map[string]any // that templates see
	eosID int32
}

// NewEncoder makes an encoder. The tokenizer's end-of-sequence token is that of o.EOSToken where it is set.
func NewEncoder(o Options, tok *chat.Tokenizer) (*Encoder, error) {
	e := &Encoder{o: o, tok: tok, eosID: tok.EOS()}
	if o.EOSToken != "" {
		id, ok := tok.ID(o.EOSToken)
		if !ok {
			return nil, stillhouse.Invalidf("eos_token %q is not in the tokenizer's vocabulary", o.EOSToken)
		}
		e.eosID, e.vars = id, map[string]any{"eos_token": o.EOSToken}
	}
	if e.eosID < 0 {
		return nil, stillhouse.Invalidf("the tokenizer names no end-of-sequence token: set eos_token to the token that ends an answer")
	}
	e.eos = tok.Token(e.eosID)
	return e, nil
}

// Encode encodes a row. An example whose labels are all ignored is to be dropped, as TRL drops it.
func (e *Encoder) Encode(r Row) (Example, error) {
	x := Example{Row: r.Name}
	prompt := 0          // tokens that are not trained
	var assistant []bool // tokens that are the assistant's, where only they are trained
	only := e.o.CompletionOnlyLoss
	var err error
	switch r.kind() {
	case pair:
		if x.Tokens, prompt, assistant, err = e.pair(r); only != nil && !*only {
			prompt = 0
		}
	case conversation:
		x.Tokens, assistant, err = e.conversation(r, r.Messages)
	default:
		x.Tokens = e.tok.EncodeWithSpecial(e.ended(*r.Text))
	}
	if err == nil {
		err = e.asked(r, x.Tokens)
	}
	if err != nil {
		return x, err
	}
	if e.o.AssistantOnlyLoss && assistant == nil {
		return x, stillhouse.Invalidf("%s: assistant_only_loss is true, but the row is no conversation: leave it out, or make the row a list of messages", r.Name)
	}
	if r.kind() != pair && only != nil && *only {
		return x, stillhouse.Invalidf("%s: completion_only_loss is true, but the row has no prompt and completion: leave it out, or split the row into the two", r.Name)
	}
	x.Tokens = e.end(x.Tokens)
	x.Labels = slices.Clone(x.Tokens)
	for i := range x.Labels {
		if i < prompt || assistant != nil && (i >= len(assistant) || !assistant[i]) {
			x.Labels[i] = student.Ignored
		}
	}
	e.o.maskPadding(x.Labels, e.tok)
	if limit := *e.o.MaxLength; limit > 0 && len(x.Tokens) > limit && !e.o.splits() {
		x.Cut = len(x.Tokens) - limit
		from := 0
		if e.o.TruncationMode == "keep_end" && !e.o.Packing {
			from = x.Cut
		}
		x.Tokens, x.Labels = x.Tokens[from:from+limit], x.Labels[from:from+limit]
	}
	return x, nil
}

// splits reports whether rows longer than max_length are left whole, to be split when they are packed.
func (o Options) splits() bool { return o.Packing && o.PackingStrategy != "bfd" }

// keeps reports whether an encoded row is trained on. As in TRL a row without labels is dropped, but not where rows are
// packed.
func (e *Encoder) keeps(x Example) bool { return e.o.Packing || x.labelled() }

// pair encodes prompt and completion together and says how many of the tokens are the prompt's, and which are the
// assistant's where only they are trained.
func (e *Encoder) pair(r Row) (all []int32, prompt int, assistant []bool, err error) {
	var head []int32
	if isString(r.Prompt) {
		var p, c string
		if err := json.Unmarshal(r.Prompt, &p); err != nil {
			return nil, 0, nil, stillhouse.Invalidf("%s: prompt: %w", r.Name, err)
		}
		if err := json.Unmarshal(r.Completion, &c); err != nil {
			return nil, 0, nil, stillhouse.Invalidf("%s: completion: %w", r.Name, err)
		}
		head, all = e.tok.EncodeWithSpecial(p), e.tok.EncodeWithSpecial(p+e.ended(c))
	} else {
		if head, err = e.template(r, r.Prompt, true); err != nil {
			return nil, 0, nil, err
		}
		both, err := join(r)
		if err != nil {
			return nil, 0, nil, err
		}
		if all, assistant, err = e.conversation(r, both); err != nil {
			return nil, 0, nil, err
		}
	}
	same := begins(head, all)
	if same < len(head) {
		return nil, 0, nil, stillhouse.Invalidf("%s: the prompt is not the beginning of prompt and completion, so the student would be trained on another context than it is asked with: "+
			"from token %d on the prompt alone is %q, and with the completion %q; end the prompt where a token ends, or use a chat template that renders both alike",
			r.Name, same, e.tok.Decode(head[same:min(len(head), same+8)], false), e.tok.Decode(all[same:min(len(all), same+8)], false))
	}
	return all, same, assistant, nil
}

// join is the conversation of prompt and completion.
func join(r Row) (json.RawMessage, error) {
	var p, c []json.RawMessage
	if err := json.Unmarshal(r.Prompt, &p); err != nil {
		return nil, stillhouse.Invalidf("%s: prompt is neither a string nor a list of messages: %w", r.Name, err)
	}
	if err := json.Unmarshal(r.Completion, &c); err != nil {
		return nil, stillhouse.Invalidf("%s: completion is neither a string nor a list of messages: %w", r.Name, err)
	}
	return json.Marshal(append(p, c...))
}

// ended is text with the end-of-sequence token behind it, once.
func (e *Encoder) ended(text string) string {
	if e.o.AppendEOS != eosText || strings.HasSuffix(text, e.eos) {
		return text
	}
	return text + e.eos
}

// template encodes a conversation by the chat template.
func (e *Encoder) template(r Row, conversation json.RawMessage, generationPrompt bool) ([]int32, error) {
	text, err := e.render(r, conversation, generationPrompt)
	if err != nil {
		return nil, err
	}
	return e.tok.Encode(text), nil
}

// render is the text of a conversation by the chat template.
func (e *Encoder) render(r Row, conversation json.RawMessage, generationPrompt bool) (string, error) {
	messages, o, err := e.rendering(r, conversation)
	if err != nil {
		return "", err
	}
	o.AddGenerationPrompt = generationPrompt
	text, err := e.tok.Render(messages, o)
	if err != nil {
		return "", stillhouse.Permanentf("%s: %w", r.Name, err)
	}
	return text, nil
}

// rendering is a conversation and how the template renders it.
func (e *Encoder) rendering(r Row, conversation json.RawMessage) (messages []chat.Message, o chat.RenderOptions, err error) {
	o = chat.RenderOptions{Tools: r.Tools, Vars: e.vars}
	if len(r.Vars) > 0 {
		o.Vars = map[string]any{}
		maps.Copy(o.Vars, e.vars)
		maps.Copy(o.Vars, r.Vars) // which go before the special tokens, as in transformers
	}
	if err := json.Unmarshal(conversation, &messages); err != nil {
		return nil, o, stillhouse.Invalidf("%s: a conversation must be a list of messages with role and content: %w", r.Name, err)
	}
	return messages, o, nil
}
