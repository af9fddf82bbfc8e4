package train

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"stillhouse"
	"stillhouse/internal/chat"
)

// In: rows with the columns prompt and completion (conversations or strings), or messages, or text; [stillhouse.SampleSchema]
// is such a schema. tools, reasoning, tool_calls, prompt_messages and chat_template_kwargs are used where they are there.
//
// Out: [ExampleSchema], the rows as token ids and labels, cut to max_length.
//
// Dropped as no_trained_token: rows of which nothing is trained, because the prompt alone fills max_length. Failed: rows
// that the chat template refuses. A prompt that is not the beginning of prompt and completion ends the run.

// Encode is the stage that makes of rows what the student is trained on. It is the first half of a training, [Fit] is
// the other; the ledger has it under the name of the whole.
type Encode struct {
	Tokenizer string  `json:"tokenizer"` // the directory of the tokenizer; it is read when the first row comes
	Options   Options `json:"options"`

	once sync.Once
	enc  *Encoder
	err  error
}

var _ stillhouse.Stage = (*Encode)(nil)

// NoTrainedToken is the reason of rows that train nothing.
const NoTrainedToken = "no_trained_token"

func (s *Encode) Name() string { return "train" }

func (s *Encode) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	o := s.Options
	o.EnsureDefaults()
	has := func(name string) bool { return in.HasField(name) }
	for _, name := range []string{"tools", "tool_calls", "reasoning", "prompt_messages"} {
		if has(name) {
			if err := readable(in, name, name == "tools" || name == "tool_calls", true); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case has("prompt") || has("completion"):
		for _, name := range []string{"prompt", "completion"} {
			if !has(name) {
				return nil, stillhouse.Invalidf("column %q is missing: the columns there are %v", name, columns(in))
			}
			if err := readable(in, name, true, true); err != nil {
				return nil, err
			}
		}
	case has("messages"):
		if err := readable(in, "messages", true, false); err != nil {
			return nil, err
		}
	case has(o.DatasetTextField):
		if err := readable(in, o.DatasetTextField, false, true); err != nil {
			return nil, err
		}
	default:
		return nil, stillhouse.Invalidf("there is nothing to train on: the columns \"prompt\" and \"completion\", or \"messages\", or %q must be there; the columns that are there are %v",
			o.DatasetTextField, columns(in))
	}
	return ExampleSchema, nil
}

// readable is an error when a column is neither a conversation nor text, of those that are right.
func readable(in *arrow.Schema, name string, conversation, text bool) error {
	f, _ := in.FieldsByName(name)
	t := f[0].Type
	var right []string
	if conversation {
		right = append(right, "a list of messages")
		if l, ok := t.(arrow.ListLikeType); ok && l.Elem().ID() == arrow.STRUCT {
			return nil
		}
	}
	if text {
		right = append(right, "text")
		if id := t.ID(); id == arrow.STRING || id == arrow.LARGE_STRING || id == arrow.STRING_VIEW {
			return nil
		}
	}
	return stillhouse.Invalidf("column %q is %v, not %s", name, t, strings.Join(right, " or "))
}

// Use gives the stage a tokenizer that is loaded already, so that it does not read the one in its directory.
func (s *Encode) Use(tok *chat.Tokenizer) *Encode {
	s.once.Do(func() { s.make(tok, nil) })
	return s
}

func (s *Encode) make(tok *chat.Tokenizer, err error) {
	if s.err = err; err != nil {
		return
	}
	o := s.Options
	o.EnsureDefaults()
	s.enc, s.err = NewEncoder(o, tok)
}

func (s *Encode) encoder() (*Encoder, error) {
	s.once.Do(func() {
		o := s.Options
		o.EnsureDefaults()
		s.make(LoadTokenizer(s.Tokenizer, o))
	})
	return s.enc, s.err
}

func (s *Encode) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	if batch.NumRows() == 0 {
		return nil
	}
	enc, err := s.encoder()
	if err != nil {
		return err
	}
	list, err := rows(batch, enc.o.DatasetTextField, func(int) string { return "a row" })
	if err != nil {
		return err
	}
	kept := make([]Example, 0, len(list))
	for i, r := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, err := enc.Encode(r)
		alone := func(do func(arrow.RecordBatch) error) error {
			one := batch.NewSlice(int64(i), int64(i+1))
			defer one.Release()
			return do(one)
		}
		switch {
		case err != nil && stillhouse.KindOf(err) == stillhouse.Invalid:
			return err
		case err != nil:
			err = alone(func(one arrow.RecordBatch) error { return out.Fail(one, err) })
		case !enc.keeps(x):
			err = alone(func(one arrow.RecordBatch) error { return out.Drop(one, NoTrainedToken, x.why()) })
		default:
			kept = append(kept, x)
		}
		if err != nil {
			return err
		}
		out.Tick(1)
	}
	if len(kept) == 0 {
		return nil
	}
	return out.Emit(ExampleBatch(out.Allocator(), kept))
}

// why says why an example without labels is one.
func (e Example) why() string {
	if e.Cut > 0 {
		return fmt.Sprintf("the prompt fills max_length: %d tokens were kept and %d cut off", len(e.Tokens), e.Cut)
	}
	return fmt.Sprintf("%d tokens, none of them the completion's", len(e.Tokens))
}

// EncodeRows encodes rows that do not come from a stage, with the account that the stage would have.
func (e *Encoder) EncodeRows(ctx context.Context, list []Row) (out []Example, a stillhouse.Account, err error) {
	a = stillhouse.Account{In: int64(len(list)), Dropped: map[string]int64{}, Failed: map[string]int64{}}
	var failures []error
	for _, r := range list {
		if err := ctx.Err(); err != nil {
			return nil, a, err
		}
		x, err := e.Encode(r)
		switch {
		case err != nil && stillhouse.KindOf(err) == stillhouse.Invalid:
			return nil, a, fmt.Errorf("train: %w", err)
		case err != nil:
			a.Failed[stillhouse.KindOf(err).String()]++
			failures = append(failures, err)
		case !e.keeps(x):
			a.Dropped[NoTrainedToken]++
		default:
			a.Kept++
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		err := stillhouse.Invalidf("train: none of the %d rows can be trained on: after max_length no token of the loss is left: raise max_length, or look at the rows", len(list))
		if len(failures) > 0 {
			err = stillhouse.Invalidf("train: none of the %d rows can be trained on, the first for this reason: %w", len(list), failures[0])
		}
		return nil, a, err
	}
	return out, a, nil
}
