package train

import (
	"encoding/json"
	"errors"

	"stillhouse"
	"stillhouse/internal/chat"
)

// conversation encodes a whole conversation, and says which tokens are the assistant's where only they are trained. A
// template for which that cannot be told is the user's to change: every row would have the same trouble.
func (e *Encoder) conversation(r Row, conversation json.RawMessage) (ids []int32, assistant []bool, err error) {
	if !e.o.AssistantOnlyLoss {
		ids, err = e.template(r, conversation, false)
		return ids, nil, err
	}
	messages, o, err := e.rendering(r, conversation)
	if err != nil {
		return nil, nil, err
	}
	ids, assistant, err = e.tok.AssistantMask(messages, o)
	if unclear := (*chat.MaskError)(nil); errors.As(err, &unclear) {
		return nil, nil, stillhouse.Invalidf("%s: assistant_only_loss: %w", r.Name, err)
	} else if err != nil {
		return nil, nil, stillhouse.Permanentf("%s: %w", r.Name, err)
	}
	return ids, assistant, nil
}
