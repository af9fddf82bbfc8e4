package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"stillhouse"
)

// HTTP is the reward http: a server that is posted rows as JSON objects, in the form of the reward
// command, and answers each with {"id": …, "score": …}.
type HTTP struct {
	Post  `yaml:",inline"`
	Batch bool `yaml:"batch" json:"batch" doc:"Post the candidates of a prompt together, as a list, which is answered with a list in any order."`
}

// New makes the reward.
func (o *HTTP) New() (Reward, error) {
	r := httpReward{newPoster(o.Post)}
	if o.Batch {
		return httpBatch{r}, nil
	}
	return r, nil
}

type httpReward struct{ *poster }

var (
	_ Concurrent = httpReward{}
	_ Opener     = httpReward{}
	_ Metered    = httpReward{}
	_ Group      = httpBatch{}
	_ Concurrent = httpBatch{}
)

func (r httpReward) Version() string { return postVersion("1", r.o.Version) }

// Score posts one row.
func (r httpReward) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	row, err := outsideOf(c)
	if err != nil {
		return failed("the row cannot be written: %v", err)
	}
	answer, err := r.post(ctx, row, maxPosted)
	if err != nil {
		return unanswered(ctx, err)
	}
	s, err := readReply(answer, outsideID(c))
	if err != nil {
		return failed("%v", err)
	}
	return s
}

type httpBatch struct{ httpReward }

// ScoreGroup posts the rows of a prompt.
func (r httpBatch) ScoreGroup(ctx context.Context, candidates []stillhouse.Candidate) []stillhouse.Score {
	rows := make([]json.RawMessage, len(candidates))
	for i, c := range candidates {
		row, err := outsideOf(c)
		if err != nil {
			return alike(len(candidates), failed("the row cannot be written: %v", err))
		}
		rows[i] = row
	}
	body, err := json.Marshal(rows)
	if err != nil {
		return alike(len(candidates), failed("the rows cannot be written: %v", err))
	}
	answer, err := r.post(ctx, body, maxPosted*int64(len(candidates)))
	if err != nil {
		return alike(len(candidates), unanswered(ctx, err))
	}
	var said []outsideReply
	if err := json.Unmarshal(answer, &said); err != nil {
		return alike(len(candidates), failed(`it said %q, which is not [{"id": …, "score": …}]`, shorten(string(answer))))
	}
	byID := map[string]outsideReply{}
	twice := map[string]bool{}
	for _, s := range said {
		_, twice[s.ID] = byID[s.ID]
		byID[s.ID] = s
	}
	out := make([]stillhouse.Score, len(candidates))
	for i, c := range candidates {
		id := string(bytes.ToValidUTF8([]byte(outsideID(c)), []byte("\uFFFD")))
		s, ok := byID[id]
		err := error(nil)
		switch {
		case !ok:
			err = fmt.Errorf("it gave no answer to id %q", shorten(id))
		case twice[id]:
			err = errors.New("it gave two answers to this row")
		default:
			out[i], err = s.score()
		}
		if err != nil {
			out[i] = failed("%v", err)
		}
	}
	return out
}
