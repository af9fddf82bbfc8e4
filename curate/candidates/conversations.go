package candidates

import (
	"encoding/json"

	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// messagesShape is a conversation in OpenAI's form, as TRL 1.16's conversational rows have it: the assistant's last turn is
// the completion, everything before it the prompt.
var messagesShape = &shape{format: "messages", title: "messages", needs: "messages",
	is: func(h *head) bool {
		return h.has("messages") && h.list("messages") && !h.any("generation", "generations")
	},
	read: func(r *row) ([]read, error) { return conversationRow(r, "messages", "prompt_id") }}

// conversationRow makes a candidate of the column of a conversation.
func conversationRow(r *row, column, id string) ([]read, error) {
	if err := r.missing(column); err != nil {
		return nil, err
	}
	list, ok := r.at(column).([]any)
	if !ok {
		return nil, rowfile.BadRowf("column %q is %s: it must be a list of messages", column, conversation.KindOf(r.at(column)))
	}
	var i Item
	if id != "" {
		i.ID = word(r.at(id))
	}
	var err error
	if r.has("tools") {
		if i.Tools, err = toolsText(r.at("tools")); err != nil {
			return nil, err
		}
	}
	return turns(r, i, list)
}

// turns makes a candidate of messages: the last is the answer, where it is the assistant's.
func turns(r *row, i Item, list []any) ([]read, error) {
	var last map[string]any
	if len(list) > 0 {
		last, _ = list[len(list)-1].(map[string]any)
	}
	if last == nil {
		return nil, rowfile.BadRowf("the conversation has no messages")
	}
	if last["role"] != "assistant" {
		err := promptOf(&i.Prompt, list)
		if err == nil {
			err = addSystem(&i.Prompt, r.at("system"))
		}
		return []read{counted(i).unplaced().fail(NoCompletion, "the conversation ends with the turn of "+word(last["role"]))}, err
	}
	if len(list) == 1 {
		return []read{counted(i).unplaced().fail(NoPrompt, "the conversation begins with the assistant's turn")}, nil
	}
	if err := promptOf(&i.Prompt, list[:len(list)-1]); err != nil {
		return nil, err
	}
	if err := addSystem(&i.Prompt, r.at("system")); err != nil {
		return nil, err
	}
	a, err := messageAnswer(last)
	if err != nil {
		return nil, err
	}
	return []read{counted(i).take(a)}, nil
}

// sharegpt is the form of ShareGPT, as LLaMA-Factory reads it (data/README.md at 015ff251): human is the user, gpt the
// assistant.
var sharegpt = &shape{format: "sharegpt", title: "ShareGPT conversations", needs: "conversations",
	is: func(h *head) bool { return h.has("conversations") && h.list("conversations") },
	read: func(r *row) ([]read, error) {
		if err := r.missing("conversations"); err != nil {
			return nil, err
		}
		said, ok := r.at("conversations").([]any)
		if !ok {
			return nil, rowfile.BadRowf(`column "conversations" is %s: it must be a list of turns`, conversation.KindOf(r.at("conversations")))
		}
		list := make([]any, len(said))
		for n, turn := range said {
			m, err := shareGPTTurn(turn)
			if err != nil {
				return nil, err
			}
			list[n] = m
		}
		i := Item{}
		i.ID = word(r.at("id"))
		var err error
		if i.Tools, err = toolsText(r.at("tools")); err != nil {
			return nil, err
		}
		return turns(r, i, list)
	}}

// shareGPTRoles are the names that turns have in files of this form, and what they are called everywhere else.
var shareGPTRoles = map[string]string{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
	"system": "system", "observation": "tool", "tool": "tool"}

func shareGPTTurn(turn any) (map[string]any, error) {
	m, ok := turn.(map[string]any)
	if !ok {
		return nil, rowfile.BadRowf("a turn is %s: it must have from and value", conversation.KindOf(turn))
	}
	if m["role"] != nil && m["from"] == nil { // OpenAI's form under this column's name
		return m, nil
	}
	from, value := word(m["from"]), m["value"]
	if from == "function_call" {
		var call any
		s, _ := value.(string)
		if rowfile.Decode([]byte(s), &call) != nil {
			return nil, rowfile.BadRowf("the turn of function_call is not JSON")
		}
		calls, ok := call.([]any)
		if !ok {
			calls = []any{call}
		}
		for n, c := range calls {
			calls[n] = map[string]any{"type": "function", "function": map[string]any{"name": dig(c, "name"), "arguments": argumentsText(dig(c, "arguments"))}}
		}
		return map[string]any{"role": "assistant", "content": nil, "tool_calls": calls}, nil
	}
	role, ok := shareGPTRoles[from]
	if !ok {
		return nil, rowfile.BadRowf("a turn is from %q: it must be human, gpt, system, function_call or observation", from)
	}
	return map[string]any{"role": role, "content": value}, nil
}

// argumentsText are a call's arguments as their text.
func argumentsText(v any) any {
	if _, ok := v.(string); ok || v == nil {
		return v
	}
	b, err := rowfile.Encode(v)
	if err != nil {
		return nil
	}
	return json.RawMessage(b)
}
