package train

import (
	"context"
	"encoding/json"
	"fmt"

	"stillhouse/internal/student"
)

// answerTokens is how long an answer may get: the course asks with max_new_tokens=100.
const answerTokens = 100

// Ask asks each question alone, in the model's chat template with its generation prompt and ask_kwargs (by default
// without thinking), and returns the answers, decoded greedily.
func (s *Student) Ask(ctx context.Context, questions []string) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	enc, err := NewEncoder(s.Options, s.Tokenizer)
	if err != nil {
		return nil, err
	}
	g := student.NewGenerator(s.Model, student.GeneratorOptions{})
	defer g.Close()
	answers := make([]string, len(questions))
	for i, q := range questions {
		conversation, err := json.Marshal([]map[string]string{{"role": "user", "content": q}})
		if err != nil {
			return nil, err
		}
		row := Row{Name: fmt.Sprintf("question %d", i+1), Vars: s.Options.AskKwargs}
		tokens, err := enc.template(row, conversation, true)
		if err != nil {
			return nil, err
		}
		room := max(0, s.Model.Config.MaxPositionEmbeddings-len(tokens))
		out, err := g.Generate(ctx, student.Request{Tokens: tokens, MaxTokens: min(answerTokens, room), Stop: enc.ends(s.Model.Config.EOSTokenIDs)}, nil)
		if err != nil {
			return nil, fmt.Errorf("question %d: %w", i+1, err)
		}
		answers[i] = s.Tokenizer.Decode(out[0].Tokens, true)
	}
	return answers, nil
}
