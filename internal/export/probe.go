package export

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/hub"
	"stillhouse/internal/student"
)

// bound is the largest difference of a logit that is let pass between what was read back and the model with its weights
// rounded to what was written. The weights are then the same, so it only leaves room for the order of sums.
const bound = 1e-4

// questions are what the models are compared on, and texts with what tokenizers treat in different ways.
var (
	questions = []string{"Ann has 3 pens and buys 14 more. How many pens has Ann?", "What is the capital of France?"}
	texts     = []string{
		"The quick brown fox doesn't jump over 1,234,567 lazy dogs; it's 9.50 € — isn't it?",
		"def f(x):\n\n\tif x  ==   10:\r\n        return [x**2, \"a_b\"]  \n\n  # end  ",
		"Größe, naïve, Ångström, 東京 と 서울, Привет мир, مرحبا 123٤٥, 😀👍🏽, ½ Ⅷ x²",
		"I'LL we'Ve THEY'RE 'tis <|im_start|>user<|im_end|> </s> <b>&amp;</b>",
	}
)

const (
	probeTokens = 48 // of each row at most
	spread      = 32 // tokens of the row that goes through the vocabulary
)

// A Comparison says how far what was read back is from the model.
type Comparison struct {
	Rows   int `json:"rows"`
	Places int `json:"places"` // tokens after which the logits were compared
	// MaxDiff is the largest difference of a logit from the model whose weights are rounded as they were written.
	MaxDiff float64 `json:"max_abs_diff"`
	Bound   float64 `json:"bound"`
	// MaxDiffUnrounded is that from the model as it was, its adapter apart: what the type and the merging cost.
	MaxDiffUnrounded float64 `json:"max_abs_diff_unrounded"`
	SameTop          float64 `json:"same_top"` // share of the places at which the likeliest token is that of the model as it was

	batch  student.Batch
	logits []float32 // of the model as it was
	config student.Config
}

// newComparison takes down the logits of the model as it is.
func newComparison(m Model) (*Comparison, error) {
	c := &Comparison{Bound: bound, config: m.Weights.Config}
	var rows [][]int32
	for _, q := range questions {
		text, err := m.Tokenizer.Render([]chat.Message{{Role: "user", Content: q}}, chat.RenderOptions{AddGenerationPrompt: true})
		if err == nil { // some templates want more than a question
			rows = append(rows, m.Tokenizer.Encode(text))
		}
	}
	for _, text := range texts {
		rows = append(rows, m.Tokenizer.Encode(text))
	}
	v := c.config.VocabSize
	through := make([]int32, spread)
	for i := range through {
		through[i] = int32(i * v / spread)
	}
	for _, row := range append(rows, through) {
		row = row[:min(len(row), probeTokens, c.config.MaxPositionEmbeddings)]
		if len(row) == 0 || int(slices.Max(row)) >= v {
			continue // loading the model has checked the tokenizer against it; a text may have no token
		}
		c.batch.Tokens, c.batch.Lengths = append(c.batch.Tokens, row...), append(c.batch.Lengths, len(row))
	}
	c.Rows, c.Places = len(c.batch.Lengths), len(c.batch.Tokens)
	var err error
	if c.logits, err = m.Weights.Logits(c.batch); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(c.logits, func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }); i >= 0 {
		return nil, stillhouse.Invalidf("the model's logits are not finite: it has diverged")
	}
	return c, nil
}

// compare rounds the model, reads back what was written, and holds one against the other. The model's weights are let
// go before others are read.
func (c *Comparison) compare(ctx context.Context, m Model, x *copied) error {
	if err := x.round(); err != nil {
		return err
	}
	rounded, err := m.Weights.Logits(c.batch)
	if err != nil {
		return err
	}
	m.Weights.Params, m.Weights.Adapter = nil, nil
	if err := ctx.Err(); err != nil {
		return err
	}
	back, err := x.load()
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if err := sameConfig(c.config, back.Config); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	logits, err := back.Logits(c.batch)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	c.MaxDiff, c.MaxDiffUnrounded = difference(logits, rounded), difference(logits, c.logits)
	v, same := c.config.VocabSize, 0
	for i := 0; i < len(logits); i += v {
		if top(logits[i:i+v]) == top(c.logits[i:i+v]) {
			same++
		}
	}
	c.SameTop = float64(same) / float64(c.Places)
	if !(c.MaxDiff <= c.Bound) {
		return fmt.Errorf("read back: logits differ by %g from those of the model, more than %g: what was written is not the model, so it was removed", c.MaxDiff, c.Bound)
	}
	return c.sameTokenizer(m.Tokenizer, x.tokens)
}

// difference is the largest one, NaN where there is one.
func difference(a, b []float32) float64 {
	worst := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if d > worst || math.IsNaN(d) {
			worst = d
		}
		if math.IsNaN(worst) {
			break
		}
	}
	return worst
}

func top(logits []float32) int {
	best := 0
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	return best
}

// sameConfig compares what decides the computation, and the tokens that end an answer.
func sameConfig(was, is student.Config) error {
	for _, id := range was.EOSTokenIDs {
		if !slices.Contains(is.EOSTokenIDs, id) {
			return fmt.Errorf("token %d, which ended an answer, does not any more", id)
		}
	}
	is.EOSTokenIDs, is.BOSTokenID, is.PadTokenID, is.Dtype = was.EOSTokenIDs, was.BOSTokenID, was.PadTokenID, was.Dtype
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Abs(a) }
	if near(was.RMSNormEps, is.RMSNormEps) && near(was.RopeTheta, is.RopeTheta) {
		is.RMSNormEps, is.RopeTheta = was.RMSNormEps, was.RopeTheta
	}
	if near(was.RopeScaling.Factor, is.RopeScaling.Factor) && near(was.RopeScaling.LowFreq, is.RopeScaling.LowFreq) && near(was.RopeScaling.HighFreq, is.RopeScaling.HighFreq) {
		is.RopeScaling = was.RopeScaling
	}
	if !reflect.DeepEqual(was, is) {
		return fmt.Errorf("the configuration is %+v, not %+v", is, was)
	}
	return nil
}

// sameTokenizer compares every token, the ids of some texts, and a conversation.
func (c *Comparison) sameTokenizer(was *chat.Tokenizer, path string) error {
	is, err := chat.Load(path)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer is.Close()
	if was.EOS() != is.EOS() || was.MaxID() != is.MaxID() {
		return fmt.Errorf("read back: the tokenizer's last id is %d and its end %d, not %d and %d", is.MaxID(), is.EOS(), was.MaxID(), was.EOS())
	}
	for id := range was.MaxID() + 1 {
		if was.Token(id) != is.Token(id) || was.IsSpecial(id) != is.IsSpecial(id) {
			return fmt.Errorf("read back: token %d is %q, not %q", id, is.Token(id), was.Token(id))
		}
	}
	conversation := []chat.Message{{Role: "system", Content: questions[1]}, {Role: "user", Content: questions[0]}, {Role: "assistant", Content: "17"}, {Role: "user", Content: "Why?"}}
	a, errA := was.Render(conversation, chat.RenderOptions{AddGenerationPrompt: true})
	b, errB := is.Render(conversation, chat.RenderOptions{AddGenerationPrompt: true})
	if a != b || (errA == nil) != (errB == nil) {
		return fmt.Errorf("read back: the chat template renders %q, not %q", b, a)
	}
	for _, text := range append([]string{a}, texts...) {
		if !slices.Equal(was.Encode(text), is.Encode(text)) || !slices.Equal(was.EncodeWithSpecial(text), is.EncodeWithSpecial(text)) {
			return fmt.Errorf("read back: the tokenizer makes other ids of %q", text)
		}
	}
	return nil
}

// roundFloats rounds weights, in place, to a dtype of safetensors.
func roundFloats(m *student.Model, dtype string) error {
	for _, p := range m.Params {
		switch dtype {
		case "bfloat16":
			for i, x := range p.Data {
				p.Data[i] = math.Float32frombits(uint32(hub.ToBF16(x)) << 16)
			}
		case "float16":
			for i, x := range p.Data {
				p.Data[i] = hub.FromF16(hub.ToF16(x))
			}
		}
	}
	return nil
}
