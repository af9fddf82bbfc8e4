package train

import (
	"encoding/json"
	"regexp"

	"stillhouse"
)

// conversation encodes a whole conversation, and says which tokens are the assistant's where only they are trained.
func (e *Encoder) conversation(r Row, conversation json.RawMessage) (ids []int32, assistant []bool, err error) {
	if !e.o.AssistantOnlyLoss {
		ids, err = e.template(r, conversation, false)
		return ids, nil, err
	}
	if !generation.MatchString(e.tok.Template()) {
		return nil, nil, stillhouse.Invalidf("%s: assistant_only_loss is true, but the chat template does not mark what the assistant says: "+
			"name one with {%% generation %%} marks by chat_template_path, or use prompt and completion rows, which train the completion", r.Name)
	}
	messages, o, err := e.rendering(r, conversation)
	if err != nil {
		return nil, nil, err
	}
	if ids, assistant, err = e.tok.EncodeChat(messages, o); err != nil {
		return nil, nil, stillhouse.Permanentf("%s: %w", r.Name, err)
	}
	return ids, assistant, nil
}

// generation is the mark by which a chat template encloses what the assistant says.
var generation = regexp.MustCompile(`\{%-?\s*generation\s*-?%\}`)
